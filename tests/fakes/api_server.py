"""A scripted HTTP server on a real socket that misbehaves as API servers, proxies and networks do.

Each list, watch and other request takes the next step of its own script; a step writes whatever bytes it likes, or
none. When a script is used up, a watch opens and stays silent, and any other request is not answered, until the server
stops. Every request is recorded.
"""

import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import parse_qsl, unquote, urlsplit

_ONCE_S = 30.0
"""No wait of a test is longer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one client request said; header names in lower case; `connection` counts accepted connections from 1."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def kind(self) -> str:
        """Which script answers: `watch`, `list`, `version` (a list of one object, for its version only) or `other`."""
        if self.method == "GET" and self.query.get("watch") == "true":
            return "watch"
        if self.method == "GET" and self.query.get("limit") == "1" and "continue" not in self.query:
            return "version"
        return "list" if self.method == "GET" and self.path.count("/") <= 3 else "other"


@dataclass(slots=True)
class Exchange:
    """One request and the ways to answer it."""

    request: Request
    out: BinaryIO
    sock: socket.socket
    stopping: threading.Event
    keep_alive: bool = field(default=True)

    def answer(self, status: int, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        """A complete answer; `body` as JSON unless it is bytes."""
        self._head(status, {"Content-Length": str(len(_bytes(body))), **(headers or {})})
        self.raw(_bytes(body))

    def answer_half(self, status: int, body: object) -> None:
        """An answer that breaks off in the middle of its body."""
        content = _bytes(body)
        self._head(status, {"Content-Length": str(len(content))})
        self.raw(content[: len(content) // 2])
        self.hang_up()

    def refuse(self, status: int, reason: str, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        """An error answer with a Status object."""
        self.answer(status, status_object(status, reason, message), headers)

    def open_stream(self) -> None:
        """Begin a chunked answer, as a watch is."""
        self._head(200, {"Transfer-Encoding": "chunked"})

    def send(self, *blocks: object) -> None:
        """One chunk for each block; a block that is not bytes becomes a JSON line."""
        for block in blocks:
            content = block if isinstance(block, bytes) else _bytes(block) + b"\n"
            self.raw(b"%x\r\n%b\r\n" % (len(content), content))

    def end_stream(self) -> None:
        """The proper end of a chunked answer."""
        self.raw(b"0\r\n\r\n")

    def raw(self, content: bytes) -> None:
        """Any bytes."""
        self.out.write(content)
        self.out.flush()

    def hang(self) -> None:
        """Say nothing more until the server stops."""
        self.keep_alive = False
        self.stopping.wait(_ONCE_S)

    def hang_up(self) -> None:
        """Close the connection."""
        self.keep_alive = False

    def reset(self) -> None:
        """Send what is buffered, then RST."""
        self.keep_alive = False
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        phrase = HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {phrase}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.raw("\r\n".join([*lines, "", ""]).encode())


Step = Callable[[Exchange], None]


class ApiServer:
    """Serves scripts on a loopback address and a free port; use it in a `with` statement."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []
        self._tls = tls
        self._scripts: dict[str, deque[Step]] = {kind: deque() for kind in ("list", "version", "watch", "other")}
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=128)
        self._connections: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stopping.set()
        for connection in [self._socket, *self._connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._acceptor.join(_ONCE_S)
        if error is None and self.faults:
            raise self.faults[0]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def on_list(self, *steps: Step) -> None:
        """Append to the script of list requests."""
        self._scripts["list"].extend(steps)

    def on_watch(self, *steps: Step) -> None:
        """Append to the script of watch requests."""
        self._scripts["watch"].extend(steps)

    def on_version(self, *steps: Step) -> None:
        """Append to the script of requests for the version of now; without one it is newer than all others."""
        self._scripts["version"].extend(steps)

    def on_other(self, *steps: Step) -> None:
        """Append to the script of all other requests."""
        self._scripts["other"].extend(steps)

    def of(self, kind: str) -> list[Request]:
        """The requests of one kind so far."""
        return [request for request in self.requests if request.kind == kind]

    def wait_for(self, kind: str, count: int) -> list[Request]:
        """The requests of one kind, as soon as there are `count` of them; fails when they do not come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.of(kind)) >= count, _ONCE_S):
                raise AssertionError(f"{count} {kind} requests expected, {len(self.of(kind))} came")
        return self.of(kind)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            number = len(self._connections)
            threading.Thread(target=self._converse, args=(connection, number), daemon=True).start()

    def _converse(self, connection: socket.socket, number: int) -> None:
        try:
            with (
                connection,
                self._secured(connection) as sock,
                sock.makefile("rb") as source,
                sock.makefile("wb") as out,
            ):
                while (request := _read_request(source, number)) is not None:
                    exchange = Exchange(request, out, sock, self._stopping)
                    self._next_step(request)(exchange)
                    if not exchange.keep_alive:
                        return
        except OSError:
            return  # the client went away, or the server stops
        except BaseException as error:  # noqa: BLE001 - a broken script fails the test at the end of its `with`
            self.faults.append(error)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _next_step(self, request: Request) -> Step:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            script = self._scripts[request.kind]
            if script:
                return script.popleft()
        if request.kind == "version":
            return listing(10**9, [])
        return watching() if request.kind == "watch" else Exchange.hang


def _read_request(source: BinaryIO, connection: int) -> Request | None:
    first = source.readline()
    if not first:
        return None
    method, target, _ = first.decode().split(" ", 2)
    headers = {}
    while line := source.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    parts = urlsplit(target)
    body = source.read(int(headers.get("content-length", "0")))
    return Request(method, unquote(parts.path), dict(parse_qsl(parts.query)), headers, body, connection)


def _bytes(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return b"" if body is None else json.dumps(body).encode()


def status_object(code: int, reason: str, message: str = "") -> dict[str, object]:
    """A meta/v1 Status of a failure."""
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {**head, "code": code, "reason": reason, "message": message}


def pod(name: str, version: int, **labels: str) -> dict[str, Any]:
    """A pod as far as envelopes look into it."""
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": labels,
        },
        "spec": {"note": "héllo {}[]"},
    }


def pod_list(version: int, items: Sequence[object], continue_token: str = "") -> dict[str, object]:
    """A PodList page."""
    metadata = {"resourceVersion": str(version), **({"continue": continue_token} if continue_token else {})}
    return {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": list(items)}


def event(kind: str, content: object) -> dict[str, object]:
    """A watch event."""
    return {"type": kind, "object": content}


def bookmark(version: int) -> dict[str, object]:
    """A watch event that only moves the version."""
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})


def listing(version: int, items: Sequence[object], continue_token: str = "") -> Step:
    """A step that answers a list request."""
    return lambda exchange: exchange.answer(200, pod_list(version, items, continue_token))


def refusing(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Step:
    """A step that answers with an error."""
    return lambda exchange: exchange.refuse(status, reason, f"scripted {status}", headers)


def watching(*blocks: object, then: Step = Exchange.hang) -> Step:
    """A step that opens a watch, sends `blocks` as chunks, and goes on as `then` says."""

    def step(exchange: Exchange) -> None:
        exchange.open_stream()
        exchange.send(*blocks)
        then(exchange)

    return step


def kubeconfig_for(server: ApiServer, directory: Path, **user: str) -> str:
    """Write a kubeconfig file for `server` and return its path; `user` is the user's credentials."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": server.url}}],
        "users": [{"name": "fake", "user": user}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    }
    path = directory / "kubeconfig.yaml"
    path.write_text(json.dumps(content))
    return str(path)


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses every connection: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        yield port


def wait_until(condition: Callable[[], bool], timeout_s: float = _ONCE_S) -> bool:
    """Poll until `condition` holds; whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
