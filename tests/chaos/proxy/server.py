"""The proxy between the extender and the API server, which does to each request what the rules in force say."""

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import yaml

from bench.simulated.apiserver.http11 import HttpRequest, RequestReader
from bench.simulated.apiserver.objects.statuses import StatusError
from bench.simulated.client import ApiAccess
from bench.simulated.processes import free_port
from bench.simulated.starting import Startable
from tests.chaos.proxy.exchange import Cut, Exchange, Upstream, reset
from tests.chaos.proxy.faults import replies
from tests.chaos.proxy.rules import Rule, RuleBook

_ACCEPT_S = 0.1
_BLOCK_BYTES = 1 << 16
_BACKLOG = 256


class ChaosProxy(Startable):
    """A proxy on a loopback port; a context manager.

    Args:
        access: the API server behind it.
        seed: of what happens by chance.
    """

    def __init__(self, access: ApiAccess, seed: int = 0) -> None:
        self.tls: ssl.SSLContext | None = None
        """What it proves itself with to new connections; None speaks plain HTTP."""
        self.token = ""
        """The token that callers must have; empty asks for none."""
        self.port = 0
        self._upstream = Upstream(access)
        self._book = RuleBook(seed)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._accept, name="chaos-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen."""
        # A port that is asked for by its number stays ours while nothing listens.
        self.port = free_port()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.settimeout(_ACCEPT_S)
        self.accept()
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection and end; requests that wait to be carried out late are forgotten."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._listener.close()
        self.cut()

    def write_kubeconfig(self, path: Path, *, ca_file: Path | None = None, token_file: Path | None = None) -> Path:
        """Write a kubeconfig for the extender, and return its path; CA and token stay in their files."""
        cluster = {"server": self.url, **({} if ca_file is None else {"certificate-authority": str(ca_file)})}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "chaos",
            "clusters": [{"name": "chaos", "cluster": cluster}],
            "users": [{"name": "chaos", "user": {} if token_file is None else {"tokenFile": str(token_file)}}],
            "contexts": [{"name": "chaos", "context": {"cluster": "chaos", "user": "chaos"}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def disturb(self, *rules: Rule) -> None:
        """Put rules in force; watches that are open meet them too."""
        self._book.set(*rules)

    def heal(self) -> None:
        """Let everything pass from now on."""
        self._book.set()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            reset(client)

    def refuse(self) -> None:
        """Refuse connections, and reset those there are, until `accept`."""
        self._listener.shutdown(socket.SHUT_RD)
        self.cut()

    def accept(self) -> None:
        """Take connections."""
        self._listener.listen(_BACKLOG)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # It refuses at the moment.
                self._ended.wait(_ACCEPT_S)
                continue
            client.settimeout(None)
            threading.Thread(target=self._serve, args=(client,), name="proxy-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.tls is not None:
                client = self.tls.wrap_socket(client, server_side=True)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.add(client)
            reader = RequestReader()
            while data := client.recv(_BLOCK_BYTES):
                for request in reader.feed(data):
                    self._handle(client, request)
        except (OSError, Cut, StatusError):
            # The connection ends here, whoever wanted it.
            pass
        finally:
            with self._lock:
                self._clients.discard(client)
            with suppress(OSError):
                client.close()

    def _handle(self, client: socket.socket, request: HttpRequest) -> None:
        luck = self._book.draw()
        exchange = Exchange(client, request, self._upstream, lambda: self._book.fault_for(request, luck), self._ended)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            replies(401, "Unauthorized").handle(exchange)
            return
        self._book.fault_for(request, luck).handle(exchange)
