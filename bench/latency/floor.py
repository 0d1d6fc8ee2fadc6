"""The floor: an endpoint with the extender's server and decoder that decides nothing and echoes the first names."""

import signal
import sys

from flask import Flask, Response, request

from extender.serving import Server
from extender.settings import Address
from extender.wire import decode_extender_args, encode_feasible


def create_floor(keep: int) -> Flask:
    """Answer POST /filter with the first `keep` of the names asked about."""
    app = Flask("floor", static_folder=None)

    @app.post("/filter")
    def echo() -> Response:
        args = decode_extender_args(request.get_data(cache=False))
        return Response(encode_feasible(args, args.names()[:keep]), content_type="application/json")

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
