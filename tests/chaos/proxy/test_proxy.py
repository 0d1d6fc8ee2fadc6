"""The proxy does to requests what its faults say, and nothing without one."""

import time
from collections.abc import Iterator

import pytest
import urllib3

from bench.simulated.apiserver.http11 import HttpRequest
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ApiAccess, ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.chaos.proxy.exchange import Answer
from tests.chaos.proxy.faults import (
    AnswersLate,
    CarriesOutLate,
    Chooses,
    Dies,
    Drips,
    Fault,
    Garbles,
    Loses,
    Replies,
    Stalls,
    Truncates,
    replies,
    replies_html,
)
from tests.chaos.proxy.rules import BINDING, LIST, PAGE, READ, WATCH, Rule, kind_of
from tests.chaos.proxy.server import ChaosProxy
from tests.chaos.proxy.streams import Drops, Duplicates, Ends, HalvesLines, Lags, Reorders


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server with a node and a pod."""
    with ApiServer() as started:
        yield started


@pytest.fixture
def direct(server: ApiServer) -> Iterator[ClusterClient]:
    """A client that goes past the proxy."""
    client = ClusterClient(ApiAccess(server.url))
    client.create_node(MachineSpec("n").node_object())
    client.create_pod(gpu_pod("a", {}))
    yield client
    client.close()


@pytest.fixture
def proxy(server: ApiServer, direct: ClusterClient) -> Iterator[ChaosProxy]:
    """The proxy before that API server."""
    del direct
    with ChaosProxy(ApiAccess(server.url)) as started:
        yield started


@pytest.fixture
def client(proxy: ChaosProxy) -> Iterator[ClusterClient]:
    """A client that goes through the proxy, and has no patience."""
    made = ClusterClient(ApiAccess(proxy.url), timeout_s=1.0)
    yield made
    made.close()


def _node_of(client: ClusterClient, name: str = "a") -> str:
    pod = client.pod(name)
    return "" if pod is None else str(pod["spec"].get("nodeName", ""))


def _watched(client: ClusterClient, count: int) -> list[bytes]:
    """The first lines of a watch of all pods from the beginning."""
    lines = client.stream("/api/v1/pods", read_timeout_s=1.0)
    found = []
    for line in lines:
        found.append(line)
        if len(found) == count:
            break
    lines.close()
    return found


def test_without_a_fault_everything_passes(client: ClusterClient, direct: ClusterClient) -> None:
    """Reads, writes and failures as they are."""
    client.bind_pod("a", "n")
    assert client.pods() == direct.pods()
    assert _node_of(client) == "n"
    with pytest.raises(FailureStatusError, match="already assigned"):
        client.bind_pod("a", "n")
    assert b'"ADDED"' in _watched(client, 1)[0]


def test_requests_are_told_apart() -> None:
    """By method, path and query."""
    requests = {
        ("GET", "/api/v1/pods", "watch=true"): WATCH,
        ("GET", "/api/v1/pods", ""): LIST,
        ("GET", "/api/v1/pods", "continue=x"): PAGE,
        ("GET", "/api/v1/namespaces/default/pods/a", ""): READ,
        ("POST", "/api/v1/namespaces/default/pods/a/binding", ""): BINDING,
    }
    for (method, path, query), kind in requests.items():
        pairs = dict([query.split("=")]) if query else {}
        assert kind_of(HttpRequest(method, path, pairs, {})) == kind


def test_it_refuses_and_accepts_again(proxy: ChaosProxy, client: ClusterClient) -> None:
    """On the same port, kept connections included."""
    client.pods()
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(UnreachableError):
            client.pods()
    proxy.accept()
    assert len(client.pods()) == 1


def test_an_answer_may_be_made_up(proxy: ChaosProxy, client: ClusterClient) -> None:
    """Without carrying the request out, with and without Retry-After."""
    proxy.disturb(Rule(replies(429, "TooManyRequests", retry_after_s=7), (BINDING,)))
    with pytest.raises(FailureStatusError, match="429"):
        client.bind_pod("a", "n")
    reply = urllib3.request("POST", f"{proxy.url}/api/v1/namespaces/default/pods/a/binding", retries=False)
    assert reply.headers["Retry-After"] == "7"
    proxy.disturb(Rule(replies(429, "TooManyRequests"), (BINDING,)))
    reply = urllib3.request("POST", f"{proxy.url}/api/v1/namespaces/default/pods/a/binding", retries=False)
    assert "Retry-After" not in reply.headers
    proxy.heal()
    assert _node_of(client) == ""


def test_an_answer_may_come_in_place_of_the_true_one(proxy: ChaosProxy, client: ClusterClient) -> None:
    """504 after the Binding was written."""
    proxy.disturb(Rule(replies(504, "Timeout", carried_out=True), (BINDING,)))
    with pytest.raises(FailureStatusError, match="504"):
        client.bind_pod("a", "n")
    assert _node_of(client) == "n"


def test_a_lie_writes_nothing(proxy: ChaosProxy, client: ClusterClient) -> None:
    """201 with an empty object."""
    proxy.disturb(Rule(Replies(Answer(201, b"{}")), (BINDING,)))
    client.bind_pod("a", "n")
    assert _node_of(client) == ""


def test_a_page_of_a_load_balancer(proxy: ChaosProxy) -> None:
    """404 and HTML."""
    proxy.disturb(Rule(replies_html(404)))
    reply = urllib3.request("GET", f"{proxy.url}/api/v1/pods", retries=False)
    assert (reply.status, reply.headers["Content-Type"], reply.data[:6]) == (404, "text/html", b"<html>")


def test_an_answer_may_be_lost(proxy: ChaosProxy, client: ClusterClient) -> None:
    """The Binding is written, and nobody says so."""
    proxy.disturb(Rule(Loses(), (BINDING,)))
    with pytest.raises(UnreachableError):
        client.bind_pod("a", "n")
    assert _node_of(client) == "n"


def test_a_request_may_be_carried_out_late(proxy: ChaosProxy, client: ClusterClient, direct: ClusterClient) -> None:
    """Though the client has gone, and the fault too."""
    proxy.disturb(Rule(CarriesOutLate(1.5), (BINDING,)))
    with pytest.raises(UnreachableError):
        client.bind_pod("a", "n")
    proxy.heal()
    assert _node_of(direct) == ""
    wait_until(lambda: _node_of(direct) == "n", timeout_s=5)


def test_an_answer_may_be_late(proxy: ChaosProxy, client: ClusterClient, direct: ClusterClient) -> None:
    """The request itself is not."""
    proxy.disturb(Rule(AnswersLate(1.5), (BINDING,)))
    with pytest.raises(UnreachableError):
        client.bind_pod("a", "n")
    assert _node_of(direct) == "n"


@pytest.mark.parametrize("resets", [False, True])
def test_half_an_answer(proxy: ChaosProxy, client: ClusterClient, resets: bool) -> None:  # noqa: FBT001 - a parameter
    """Then the end, or a reset; in a watch too."""
    proxy.disturb(Rule(Truncates(resets)))
    with pytest.raises(UnreachableError):
        client.pods()
    with pytest.raises(UnreachableError):
        _watched(client, 1)


def test_drops_come_together(proxy: ChaosProxy, client: ClusterClient) -> None:
    """An answer that drips is complete in the end, and took its time."""
    proxy.disturb(Rule(Drips(bytes_at_once=200, pause_s=0.05)))
    before_s = time.monotonic()
    assert len(client.pods()) == 1
    assert time.monotonic() - before_s > 0.2
    assert b'"ADDED"' in _watched(client, 1)[0]


def test_a_stalled_socket_goes_on_in_the_end(proxy: ChaosProxy, client: ClusterClient) -> None:
    """It answers nothing meanwhile."""
    proxy.disturb(Rule(Stalls()))
    with pytest.raises(UnreachableError):
        client.pods()
    proxy.heal()
    assert len(client.pods()) == 1


def test_a_dead_socket_stays_dead(proxy: ChaosProxy, client: ClusterClient) -> None:
    """While a new one works."""
    lines = client.stream("/api/v1/pods", read_timeout_s=1.0)
    next(lines)
    proxy.disturb(Rule(Dies()))
    with pytest.raises(UnreachableError):
        client.bind_pod("a", "n")
    proxy.heal()
    client.patch_pod("a", {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(UnreachableError):
        next(lines)
    assert _node_of(client) == ""


def test_garbage_is_no_answer(proxy: ChaosProxy, client: ClusterClient) -> None:
    """Neither the bytes in place of one, nor those in its body."""
    proxy.disturb(Rule(Garbles(), (LIST,)))
    for _ in range(6):
        with pytest.raises((UnreachableError, ValueError)):
            client.pods()


def test_a_watch_may_tell_everything_twice(proxy: ChaosProxy, client: ClusterClient, direct: ClusterClient) -> None:
    """And what is long past again."""
    direct.create_pod(gpu_pod("b", {}))
    proxy.disturb(Rule(Duplicates(), (WATCH,)))
    lines = _watched(client, 4)
    assert (len(lines), len(set(lines))) == (4, 2)


def test_a_watch_may_change_the_order(proxy: ChaosProxy, client: ClusterClient, direct: ClusterClient) -> None:
    """Nothing is missing once it is over."""
    for name in "bcdefghi":
        direct.create_pod(gpu_pod(name, {}))
    ordered = _watched(direct, 9)
    proxy.disturb(Rule(Reorders(), (WATCH,)))
    lines = client.stream("/api/v1/pods", read_timeout_s=2.0)
    found = [next(lines)]
    proxy.heal()
    found += [next(lines) for _ in range(8)]
    lines.close()
    assert sorted(found) == sorted(ordered)
    assert found != ordered


def test_a_watch_may_lag(proxy: ChaosProxy, client: ClusterClient) -> None:
    """By the time that was ordered; nothing is missing."""
    proxy.disturb(Rule(Lags(0.5), (WATCH,)))
    before_s = time.monotonic()
    assert b'"ADDED"' in _watched(client, 1)[0]
    assert time.monotonic() - before_s >= 0.5


def test_a_watch_may_have_half_lines(proxy: ChaosProxy) -> None:
    """That are no JSON, in a stream that is whole."""
    proxy.disturb(Rule(HalvesLines(share=1.0), (WATCH,)))
    reply = urllib3.request("GET", f"{proxy.url}/api/v1/pods?watch=true&timeoutSeconds=1", retries=False)
    assert reply.data.startswith(b'{"type":"ADDED"')
    assert not reply.data.rstrip().endswith(b"}}")


def test_a_watch_may_end_early_or_as_expired(proxy: ChaosProxy, client: ClusterClient) -> None:
    """After the time that was ordered."""
    proxy.disturb(Rule(Ends(0.3), (WATCH,)))
    assert len(list(client.stream("/api/v1/pods", read_timeout_s=2.0))) == 1
    proxy.disturb(Rule(Drops(0.1), (WATCH,)))
    (line,) = list(client.stream("/api/v1/pods", read_timeout_s=2.0))
    assert b'"code":410' in line


def test_a_share_of_the_requests(proxy: ChaosProxy, client: ClusterClient) -> None:
    """By chance; the rest passes."""
    proxy.disturb(Rule(replies(500, "InternalError"), share=0.5))
    failed = 0
    for _ in range(40):
        try:
            client.pods()
        except FailureStatusError:
            failed += 1
    assert 8 < failed < 32


def test_one_of_several_faults(proxy: ChaosProxy, client: ClusterClient) -> None:
    """By chance too."""
    proxy.disturb(Rule(Chooses((Fault(), replies(500, "InternalError")))))
    outcomes = set()
    for _ in range(20):
        try:
            outcomes.add(len(client.pods()))
        except FailureStatusError as error:
            outcomes.add(error.status)
    assert outcomes == {1, 500}


def test_it_asks_for_the_token(proxy: ChaosProxy, client: ClusterClient) -> None:
    """If it was told one."""
    proxy.token = "abc"  # noqa: S105 - of a test
    with pytest.raises(FailureStatusError, match="401"):
        client.pods()
