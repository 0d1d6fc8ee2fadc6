"""The recorded calls of a real kube-scheduler in tests/golden."""

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "golden"
EXCHANGES: dict[str, dict[str, Any]] = json.loads((_FOLDER / "exchanges.json").read_text(encoding="utf-8"))


def body(name: str) -> bytes:
    """The body of a call, byte for byte."""
    return (_FOLDER / f"{name}.raw.json").read_bytes()


def request(name: str) -> bytes:
    """The whole call as it came over the socket, without the path prefix of the stub that recorded it."""
    exchange = EXCHANGES[name]
    lines = [
        exchange["request_line"].replace(" /ext/", " /"),
        *(f"{key}: {value}" for key, value in exchange["headers"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body(name)
