"""The floor: Flask and cheroot, an endpoint that decodes a filter call, decides nothing and echoes the first names."""

import signal
import sys

import msgspec
from flask import Flask, Response, request

from extender.decoding import Pod
from extender.serving import Server
from extender.settings import Address


class _Call(msgspec.Struct, rename={"pod": "Pod", "names": "NodeNames"}, gc=False):
    """What filter gets. Decoded plainly, whatever the extender does to read it faster."""

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
    server = Server(Address("127.0.0.1", port), create_floor(keep), threads=64, max_body_bytes=64 * 1024 * 1024)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
