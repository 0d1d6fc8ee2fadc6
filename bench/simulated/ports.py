"""From nothing to a TCP port of loopback for a server that cannot choose one by itself."""

import random
import socket

_FIRST, _LAST = 15_000, 32_000


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    Taken from below the range that the kernel gives to outgoing connections: a port of that range could be given away
    in the moment before the server opens it.

    Raises:
        OSError: none was found.
    """
    for _ in range(1000):
        port = random.randrange(_FIRST, _LAST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of 1000 ports between {_FIRST} and {_LAST} of 127.0.0.1 was free")
