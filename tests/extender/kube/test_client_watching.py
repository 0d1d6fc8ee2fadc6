"""Watches at the API server: whole lines come out of them, and they end when a side ends them."""

import json
import threading
from pathlib import Path

import pytest

from extender.kube.client import KubeApi, connect
from extender.kube.errors import ApiError, ApiUnreachable
from tests.extender.api_calls import PODS
from tests.fakes.api_server import (
    ApiServer,
    Exchange,
    bookmark,
    event,
    kubeconfig_for,
    listing,
    pod,
    refusing,
    watching,
)
from tests.fakes.certificate import server_context, write_certificate


def test_watch_yields_one_line_each(api: KubeApi, server: ApiServer) -> None:
    """However the bytes are cut: several lines in one chunk, one line in many, empty lines between."""
    lines = [json.dumps(event("ADDED", pod("a", 4))).encode(), json.dumps(bookmark(9)).encode()]
    text = lines[0] + b"\n\r\n" + lines[1] + b"\n"
    blocks = [text, *(text[at : at + 7] for at in range(0, len(text), 7))]
    server.on_watch(watching(*blocks, then=Exchange.end_stream))
    stream = api.watch(f"{PODS}?labelSelector=a", "3", 301.7, 5.0)
    assert lines * 2 == list(stream)
    stream.close()
    expected = {
        "labelSelector": "a",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "3",
        "timeoutSeconds": "301",
    }
    assert expected == server.requests[0].query


def test_watch_yields_a_line_of_megabytes(api: KubeApi, server: ApiServer) -> None:
    """Objects of the largest size that an API server stores, and more."""
    line = json.dumps(event("ADDED", pod("a", 4, big="x" * 3_000_000))).encode()
    server.on_watch(watching(line + b"\n", then=Exchange.end_stream))
    assert [line] == list(api.watch(PODS, "3", 300, 5.0))


def test_a_watch_without_chunks_yields_its_lines_as_they_come(api: KubeApi, server: ApiServer) -> None:
    """As a proxy may turn it into: nothing waits until a block is full."""
    lines = [json.dumps(event("ADDED", pod(name, 4))).encode() for name in "ab"]
    first_seen = threading.Event()

    def until_closed(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        exchange.raw(lines[0] + b"\n")
        assert first_seen.wait(30.0)
        exchange.raw(lines[1] + b"\n")
        exchange.hang_up()

    server.on_watch(until_closed)
    stream = api.watch(PODS, "3", 300, 30.0)
    assert next(stream) == lines[0]
    first_seen.set()
    assert list(stream) == lines[1:]
    stream.close()


def test_a_refused_watch_is_an_api_error(api: KubeApi, server: ApiServer) -> None:
    """410 as an HTTP status."""
    server.on_watch(refusing(410, "Expired"))
    with pytest.raises(ApiError) as caught:
        api.watch(PODS, "3", 300)
    assert caught.value.status == 410


@pytest.mark.parametrize("fault", [Exchange.reset, Exchange.hang_up], ids=["reset", "closed"])
def test_a_watch_that_breaks_off_says_so(api: KubeApi, server: ApiServer, fault: object) -> None:
    """After the lines that came before."""
    assert callable(fault)
    server.on_watch(watching(bookmark(4), then=fault))
    stream = api.watch(PODS, "3", 300, 5.0)
    with pytest.raises(ApiUnreachable, match="broke off"):
        # The reset may overtake the line that was sent before it.
        list(stream)
    stream.close()


def test_a_silent_watch_breaks_off(api: KubeApi, server: ApiServer) -> None:
    """Open, and no byte within the silence allowed."""
    server.on_watch(watching(bookmark(4)))
    stream = api.watch(PODS, "3", 300, 1.0)
    next(stream)
    with pytest.raises(ApiUnreachable, match="broke off"):
        next(stream)
    stream.close()


def test_after_a_silent_watch_idle_connections_are_not_trusted(api: KubeApi, server: ApiServer) -> None:
    """They go the same way; each of them would take its time-out to be found dead."""
    together = threading.Barrier(2, timeout=30)

    def meet(exchange: Exchange) -> None:
        together.wait()
        listing(1, [])(exchange)

    server.on_list(meet, meet, listing(1, []))
    readers = [threading.Thread(target=api.list_page, args=(PODS, 0, "", 5.0)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    server.on_watch(watching(bookmark(4)))
    stream = api.watch(PODS, "3", 300, 0.5)
    with pytest.raises(ApiUnreachable, match="broke off"):
        list(stream)
    stream.close()
    api.list_page(PODS, 0, "", 5.0)
    assert server.requests[-1].connection == 3


def test_half_a_line_at_the_end_is_not_yielded(api: KubeApi, server: ApiServer) -> None:
    """A watch that the server ends properly, in the middle of a line, has lost something."""
    server.on_watch(watching(bookmark(4), b'{"type":"ADD', then=Exchange.end_stream))
    stream = api.watch(PODS, "3", 300, 5.0)
    next(stream)
    with pytest.raises(ApiUnreachable, match="in the middle of a line, after 12 bytes"):
        next(stream)
    stream.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_abort_wakes_a_blocked_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:  # noqa: FBT001 - a parametrized case
    """From another thread, at once, over plain and encrypted connections."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    certificate = write_certificate(tmp_path)
    ended = threading.Event()
    with ApiServer(server_context(certificate) if tls else None) as server:
        server.on_watch(watching(bookmark(4)))
        path = Path(kubeconfig_for(server, tmp_path))
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"]["certificate-authority"] = str(certificate)
        path.write_text(json.dumps(content))
        stream = connect(str(path)).watch(PODS, "3", 300, 60.0)
        next(stream)

        def read_to_the_end() -> None:
            assert list(stream) == []
            stream.close()
            ended.set()

        reader = threading.Thread(target=read_to_the_end, daemon=True)
        reader.start()
        assert not ended.wait(0.05)
        stream.abort()
        assert ended.wait(30.0)
        stream.abort()


def test_closing_a_watch_closes_its_connection(api: KubeApi, server: ApiServer) -> None:
    """The server sees the end; the next request uses another connection."""
    gone = threading.Event()

    def until_gone(exchange: Exchange) -> None:
        while exchange.sock.recv(1):
            pass
        exchange.hang_up()
        gone.set()

    server.on_watch(watching(bookmark(4), then=until_gone))
    stream = api.watch(PODS, "3", 300, 60.0)
    next(stream)
    stream.close()
    stream.close()
    assert gone.wait(30.0)
    assert list(stream) == []


def test_sockets_are_kept_alive(api: KubeApi, server: ApiServer) -> None:
    """A connection whose other end vanished is found by the kernel, and idle watches stay open through firewalls."""
    server.on_watch(watching(bookmark(4)))
    stream = api.watch(PODS, "3", 300, 60.0)
    next(stream)
    remote = f"0100007F:{server.port:04X}"
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    timers = [fields[5].partition(":")[0] for fields in connections if fields[2] == remote]
    stream.close()
    assert timers == ["02"]  # proc(5): a timer of kind 2 is the keepalive's
