"""Serves /healthz, /readyz and /metrics for probes and Prometheus."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from device_plugin.settings import SettingsError
from extender.sockets.listening import listening_socket

Part = Callable[[], str]


class Health:
    """The health of the plugin, from its parts by name, which are asked at every probe.

    A plugin without a kubelet, GPUs or an API server is alive and waits; restarting it would not help. So only `readyz`
    fails then and says what it waits for, and `healthz` fails when one of its loops has died.
    """

    def __init__(self, parts: Mapping[str, Part], dead: Callable[[], str]) -> None:
        self._parts = parts
        self._dead = dead

    def problems(self) -> dict[str, str]:
        """What is wrong, by part."""
        return {name: problem for name, part in self._parts.items() if (problem := part())}

    def healthz(self) -> tuple[int, str]:
        """HTTP status and text: 500 when the process should be restarted; waiting is shown but is no failure."""
        dead = self._dead()
        return (500, dead) if dead else (200, self._text())

    def readyz(self) -> tuple[int, str]:
        """HTTP status and text: 200 when registered, with the inventory written and the GPUs read; else 503."""
        dead = self._dead()
        return (503 if dead or self.problems() else 200), dead or self._text()

    def _text(self) -> str:
        problems = self.problems()
        return "\n".join(f"{name}: {problems[name]}" for name in self._parts if name in problems) or "ok"


_CLIENT_TIMEOUT_S = 10.0
_BACKLOG = 64


class Endpoints:
    """A small HTTP server in a thread of its own.

    Raises:
        SettingsError: the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], health: Health, registry: CollectorRegistry) -> None:
        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def server_bind(self) -> None:
                self.socket.close()
                self.socket = listening_socket(*address, backlog=_BACKLOG)
                self.server_address = self.socket.getsockname()

            def server_activate(self) -> None:
                """It listens already."""

        try:
            self._server = Server(address, _handler(health, registry))
        except OSError as error:
            raise SettingsError(f"listen {address[0]}:{address[1]}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="endpoints", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer requests."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(5.0)
        self._server.server_close()


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_TIMEOUT_S
        protocol_version = "HTTP/1.1"
        server_version = "gpupack-device-plugin"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, encode(registry), content_type)
                return
            texts = {"/healthz": health.healthz, "/readyz": health.readyz}
            status, text = texts[path]() if path in texts else (404, "expected /healthz, /readyz or /metrics")
            self._answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Log nothing: probes come every few seconds."""

    return Handler


"""Returns what is wrong with one part of the plugin; empty when nothing is."""
