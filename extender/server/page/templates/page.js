"use strict";
// Fetches each section again when it is due; the server answers 304 when nothing changed. Without this script the
// page loads itself again as a whole.
(() => {
  const LONGEST_PAUSE_S = 60, TIMEOUT_MS = 10000;
  const live = document.getElementById("live"), button = document.getElementById("pause");
  const sections = [...document.querySelectorAll("[data-live]")].map((element) => ({
    element, url: element.dataset.live, every: Number(element.dataset.every),
    tag: `"${element.dataset.tag}"`, failures: 0, due: 0,
  }));
  let paused = false;

  const say = (text) => { if (live.textContent !== text) live.textContent = text; };
  const later = (section) => {
    const pause = Math.min(LONGEST_PAUSE_S, section.every * 2 ** section.failures);
    section.due = performance.now() + 1000 * pause * (0.9 + 0.2 * Math.random());
  };

  const put = (section, html) => {
    const element = section.element, focused = document.activeElement;
    // A link of this section that has the focus keeps it.
    const inside = element.contains(focused) && focused !== element ? focused.getAttribute("href") : null;
    element.innerHTML = html;
    if (inside) {
      const again = [...element.querySelectorAll("a")].find((link) => link.getAttribute("href") === inside);
      (again || element).focus({ preventScroll: true });
    }
  };

  const refresh = async (section) => {
    section.due = Infinity;
    try {
      const answer = await fetch(section.url, {
        headers: { "If-None-Match": section.tag }, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (answer.status === 200) {
        section.tag = answer.headers.get("ETag");
        put(section, await answer.text());
      } else if (answer.status !== 304) {
        throw new Error(`status ${answer.status}`);
      }
      section.failures = 0;
    } catch {
      section.failures = Math.min(section.failures + 1, 10);
    }
    later(section);
    const lost = sections.some((each) => each.failures > 0);
    say(lost ? "The extender does not answer; this is its latest answer. Trying again." : "Updates automatically.");
    document.body.classList.toggle("lost", lost);
  };

  const tick = () => {
    if (paused || document.hidden) return;
    const now = performance.now();
    const selected = String(getSelection());
    // One after another, and not while text is selected.
    const next = sections.find((section) => section.due <= now && !(selected && getSelection().containsNode(section.element, true)));
    if (next && !sections.some((section) => section.due === Infinity)) refresh(next);
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume updates" : "Pause updates";
    say(paused ? "Updates are paused." : "Updates automatically.");
  });

  // The map: what is under the pointer, and a way to its node.
  const nodeAt = (event) => {
    const map = event.target.closest(".map"), names = document.getElementById("names");
    if (!map || !names) return null;
    const box = map.getBoundingClientRect(), scale = 1200 / box.width;
    const [width, height] = map.dataset.block.split(" ").map(Number);
    const column = Math.floor((event.clientX - box.left) * scale / width);
    const at = Math.floor((event.clientY - box.top) * scale / height) * Number(map.dataset.columns) + column;
    if (column >= Number(map.dataset.columns) || at >= Number(map.dataset.nodes)) return null;
    if (names.parsed === undefined) names.parsed = JSON.parse(names.textContent);
    return names.parsed[Number(map.dataset.first) + at];
  };
  const mapSection = document.getElementById("map");
  mapSection.addEventListener("pointermove", (event) => {
    const under = document.getElementById("under");
    if (under) under.textContent = nodeAt(event) || "";
  });
  mapSection.addEventListener("click", (event) => {
    const name = nodeAt(event);
    if (name) location.search = new URLSearchParams({ q: name });
  });

  say("Updates automatically.");
  sections.forEach(later);
  setInterval(tick, 250);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) sections.forEach((section) => { if (section.due !== Infinity) section.due = 0; }); });
})();
