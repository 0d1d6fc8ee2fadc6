"""The page over HTTP: what it holds, how it is cached, and what a browser may do with it."""

import re
import threading
from base64 import b64encode
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient

from extender.contract.units import GpuUuid
from extender.server.http.routes import create_app
from extender.server.page.presenting import SECTIONS, Presenter, large
from extender.server.page.query import Query
from extender.server.page.views import MAX_AT_ONCE
from tests.extender.objects import mixed_node, node, pod, uuid
from tests.extender.served import Served
from tests.extender.server.page.stage import staged
from tests.fakes.reflecting import StandingClock

ONCE_S = 10.0
EVIL = "<script>alert(1)</script>\"'&"


def client_of(served: Served) -> FlaskClient:
    """A browser without scripts."""
    return create_app(served.cluster.state, served.health.not_ready).test_client()


def text_of(served: Served, address: str = "/") -> str:
    """The HTML of an address."""
    return client_of(served).get(address).get_data(as_text=True)


class Tags(HTMLParser):
    """Opened and closed tags; `unclosed` is what is left open."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.unclosed: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.wrong += [f"{tag} {name}" for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag not in self.VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if not self.unclosed or self.unclosed.pop() != tag:
            self.wrong.append(f"/{tag}")


def test_the_page_shows_nodes_pods_reasons_and_decisions() -> None:
    """All in the first answer: nothing is left to a script."""
    served = Served(node("a", 16), node("b", 4))
    served.cluster.show_bound("chat", 8, uuid("a", 0), "a")
    served.cluster.filter(pod("train", 12))
    html = text_of(served)
    for text in (
        "chat",
        "train",
        "12 GiB",
        "not enough free GPU memory",
        "Does not fit on any of the 2 nodes",
        "2</b> GPU nodes",
    ):
        assert text in html
    assert served.cluster.state.policy.name in html


@pytest.mark.parametrize("nodes", [0, 1, 7, 70])
def test_the_html_is_well_formed(nodes: int) -> None:
    """Every tag is closed, every id is there once, and no style or handler stands in an attribute."""
    tags = Tags(text_of(staged(nodes)))
    assert (tags.unclosed, tags.wrong) == ([], [])
    assert len(tags.ids) == len(set(tags.ids))


def test_an_empty_cluster_says_what_is_missing() -> None:
    """Not an empty page."""
    html = text_of(Served(node("cpu-only")))
    assert "No node with GPUs is known" in html
    assert "and 1 without GPUs" in html
    assert "None: every pod that asks for GPUs has a node." in html
    assert "Only the extender of the leading kube-scheduler decides" in html


@pytest.mark.parametrize("address", ["/", "/page/nodes", "/page/map", "/page/summary"])
def test_what_comes_from_outside_is_escaped(address: str) -> None:
    """Names, models, reasons and the search itself."""
    served = Served(node("a", 16, model=EVIL), *(node(f"{EVIL}{at}", 16) for at in range(60)))
    wrong = pod("wrong", 8, annotations={"policy": EVIL})
    served.cluster.filter(wrong)
    shown = pod(EVIL, 8, node="a", annotations={"allocation": f'{{"containers":{{"{EVIL}"'})
    served.cluster.show(shown)
    query = {"q": EVIL, "group": EVIL[:100]}
    for arguments in ({}, query):
        html = client_of(served).get(address, query_string=arguments).get_data(as_text=True)
        assert "<script>alert" not in html
        assert "</script>\"'&" not in html.replace("</script>\n", "")


def test_only_the_pages_own_style_and_script_may_run() -> None:
    """Their hashes are in the policy; everything else is forbidden."""
    answer = client_of(Served(node("a", 16))).get("/")
    html = answer.get_data(as_text=True)
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert policy[rule] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert "http" not in re.sub(r"xmlns='http://www.w3.org/2000/svg'|http-equiv", "", html)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("address", ["/", *(f"/page/{name}" for name in SECTIONS)])
def test_what_did_not_change_is_not_sent_again(address: str) -> None:
    """304 with the same tag; another tag once something has changed."""
    served = Served(*(node(f"n{at}", 16) for at in range(40)))
    client = client_of(served)
    first = client.get(address)
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = client.get(address, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    served.cluster.add_node(node("b", 16))
    served.cluster.filter(pod("train", 60))
    changed = client_of(served).get(address, headers={"If-None-Match": tag})
    assert changed.status_code == 200


def test_the_state_is_looked_at_once_a_second_at_most() -> None:
    """However many people look at the page."""
    served = Served(node("a", 16))
    clock = StandingClock()
    presenter = Presenter(served.cluster.state, lambda: None, clock, pause=lambda: None)
    before = presenter.section("nodes", Query())
    served.cluster.add_node(node("b", 16))
    clock.advance(0.9)
    assert presenter.section("nodes", Query()) is before
    clock.advance(0.2)
    assert b"b</h3>" in presenter.section("nodes", Query()).body


def test_a_view_that_cannot_be_trusted_says_so_on_top() -> None:
    """As filter does."""
    served = Served(node("a", 16))
    served.not_ready = "the scheduler extender has lost touch with the API server"
    assert "can't be trusted right now: the scheduler extender has lost touch with the API server" in text_of(served)


def test_pages_and_searches_are_addresses() -> None:
    """The 33rd node is on the second page; a search finds it on the first."""
    served = Served(*(node(f"n{at:02}", 16) for at in range(40)))
    assert ">n35</h3>" not in text_of(served)
    assert ">n35</h3>" in text_of(served, "/?page=2")
    assert ">n35</h3>" in text_of(served, "/?q=n35")
    assert 'value="n35"' in text_of(served, "/?q=n35")


def test_nonsense_in_the_address_is_400_with_the_reason() -> None:
    """Plain text: nothing of it is markup."""
    answer = client_of(Served()).get("/?state=<b>")
    assert (answer.status_code, answer.content_type) == (400, "text/plain; charset=utf-8")
    assert answer.get_data(as_text=True).startswith("state is '<b>', expected one of free, idle, full, problem")


def test_an_unknown_section_is_404() -> None:
    """With those that there are."""
    answer = client_of(Served()).get("/page/secrets")
    assert answer.status_code == 404
    assert "expected one of summary, map, nodes, pending, decisions" in answer.get_data(as_text=True)


def test_the_address_for_probes_does_not_serve_the_page() -> None:
    """It names every tenant's pods."""
    assert set(Served(node("a", 16)).probes) == {"/healthz", "/readyz", "/metrics"}


def test_gpus_that_cannot_be_used_are_said_in_words() -> None:
    """Not only by colour."""
    served = Served(node("a", 16, 16, unhealthy=[uuid("a", 1)]))
    html = text_of(served)
    assert "✕ unhealthy" in html
    assert "node with a problem" in html


def test_many_people_who_look_do_not_take_the_threads_of_the_scheduler() -> None:
    """While the page is rendered for some, one more is sent away for two seconds."""
    gate = threading.Event()

    def slow() -> str | None:
        assert gate.wait(ONCE_S)
        return None

    app = create_app(Served(node("a", 16)).cluster.state, slow)
    with ThreadPoolExecutor(MAX_AT_ONCE + 1) as pool:
        looking = [pool.submit(app.test_client().get, "/") for _ in range(MAX_AT_ONCE + 1)]
        (sent_away,) = wait(looking, ONCE_S, FIRST_COMPLETED).done
        assert sent_away.result().status_code == 503
        assert sent_away.result().headers["Retry-After"] == "2"
        gate.set()
        assert sorted(each.result(ONCE_S).status_code for each in looking) == [200] * MAX_AT_ONCE + [503]
    assert app.test_client().get("/").status_code == 200


def test_large_amounts_are_in_tib() -> None:
    """With separators."""
    assert [large(8, 1024), large(1928, 1024), large(3, 256), large(2_200_000, 1024)] == [
        "8 GiB",
        "1,928 GiB",
        "0.75 GiB",
        "2,148.4 TiB",
    ]


def test_a_gpu_in_mig_devices_counts_once_and_has_a_bar_for_each() -> None:
    """Named as `nvidia-smi -L` numbers them."""
    served = Served(mixed_node("a"))
    served.cluster.show_bound("p", 4, GpuUuid("MIG-a-1-1"), "a")
    text = text_of(served)
    assert "<b>2</b> GPUs <small>as 4 with their MIG devices, 1 idle</small>" in text
    assert re.findall(r'<th scope="row" title="(GPU|MIG)-[^>]*>([0-9:]+)', text) == [
        ("GPU", "0"),
        ("MIG", "1:0"),
        ("MIG", "1:1"),
        ("MIG", "1:2"),
    ]
    assert "with their MIG devices" not in text_of(Served(node("a", 16)))
