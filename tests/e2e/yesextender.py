"""A scheduler extender that lets every node pass and notes which pods it was asked about."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class YesExtender:
    """Listens on a free port of 127.0.0.1 while entered; `calls` holds a (path, pod name) for each request."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        extender = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                extender.calls.append((self.path, request["Pod"]["metadata"]["name"]))
                body = json.dumps(_answer(self.path, request["NodeNames"])).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay quiet; the calls are noted."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, nodes: list[str]) -> dict[str, Any] | list[dict[str, Any]]:
    if path == "/prioritize":
        return [{"Host": node, "Score": 10} for node in nodes]
    return {"NodeNames": nodes}
