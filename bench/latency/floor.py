"""Serves the floor: a Flask and cheroot endpoint that decodes a filter call and echoes the first names."""

import signal
import sys
import threading

import msgspec
from cheroot import wsgi
from flask import Flask, Response, request

from extender.kube.objects import Pod

_THREADS = 64
_IDLE_TIMEOUT_S = 120


class _Call(msgspec.Struct, rename={"pod": "Pod", "names": "NodeNames"}, gc=False):
    """A filter call, decoded plainly."""

    pod: Pod
    names: list[str]


_decode = msgspec.json.Decoder(_Call).decode
_encode = msgspec.json.Encoder().encode


def create_floor(keep: int) -> Flask:
    """Answer POST /filter with the first `keep` of the names asked about."""
    app = Flask("floor", static_folder=None)

    @app.post("/filter")
    def echo() -> Response:
        call = _decode(request.get_data(cache=False))
        return Response(_encode({"NodeNames": call.names[:keep], "Error": ""}), content_type="application/json")

    @app.get("/readyz")
    def ready() -> str:
        return "ok\n"

    return app


def main(port: int, keep: int) -> None:
    """Serve until SIGTERM."""
    server = wsgi.Server(
        ("127.0.0.1", port),
        create_floor(keep),
        numthreads=_THREADS,
        max=_THREADS,
        request_queue_size=128,
        timeout=_IDLE_TIMEOUT_S,
    )
    server.keep_alive_conn_limit = 256
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
