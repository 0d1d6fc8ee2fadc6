"""From the parts of the plugin to the answers of /healthz and /readyz."""

from collections.abc import Callable, Mapping

Part = Callable[[], str]
"""Says what is wrong with one part of the plugin; empty when nothing is."""


class Health:
    """The parts by name, asked anew each time.

    A plugin without a kubelet, GPUs or an API server is alive, waits, and says for what; restarting it would not help.
    So only `readyz` turns it away, and `healthz` fails when one of its loops has died.
    """

    def __init__(self, parts: Mapping[str, Part], dead: Callable[[], str]) -> None:
        self._parts = parts
        self._dead = dead

    def problems(self) -> dict[str, str]:
        """What is wrong, by part."""
        return {name: problem for name, part in self._parts.items() if (problem := part())}

    def healthz(self) -> tuple[int, str]:
        """HTTP status and text: 500 when the process should be restarted; waiting is shown, but is not ill health."""
        dead = self._dead()
        return (500, dead) if dead else (200, self._text())

    def readyz(self) -> tuple[int, str]:
        """HTTP status and text: 200 when registered, with the inventory written and the GPUs read; else 503."""
        dead = self._dead()
        return (503 if dead or self.problems() else 200), dead or self._text()

    def _text(self) -> str:
        problems = self.problems()
        return "\n".join(f"{name}: {problems[name]}" for name in self._parts if name in problems) or "ok"
