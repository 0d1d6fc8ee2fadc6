"""A scheduler extender that answers as a test tells it and keeps every request as it came over the socket."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[[Any], Any]


class ScriptedExtender:
    """Serves while used as a context manager; `answers` gives per verb a function from the body to the answer.

    An answer that is an integer is sent as that HTTP status. `requests` lists (verb, headers, raw body, client port).
    """

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = {
            "filter": lambda body: {"NodeNames": body["NodeNames"]},
            "prioritize": lambda body: [{"Host": name, "Score": 0} for name in body["NodeNames"]],
            **answers,
        }
        self.requests: list[tuple[str, list[tuple[str, str]], bytes, int]] = []
        owner = self

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.serve(self)

            def log_message(self, *_: Any) -> None:
                """Keep the test's output quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        verb = handler.path.strip("/")
        self.requests.append((verb, list(handler.headers.items()), body, handler.client_address[1]))
        answer = self.answers[verb](json.loads(body))
        status = answer if isinstance(answer, int) else 200
        data = b"" if isinstance(answer, int) else json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def calls(self, verb: str) -> list[Any]:
        """The bodies that a verb was called with."""
        return [json.loads(body) for name, _, body, _ in self.requests if name == verb]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
