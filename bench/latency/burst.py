"""Posts many binds at once, each on its own connection, as kube-scheduler does, and prints how long each took."""

import asyncio
import json
import sys
import time
from typing import Any


async def _bind(port: int, body: bytes) -> tuple[float, bool]:
    started_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /bind HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    answer = await reader.read()
    elapsed_s = time.perf_counter() - started_s
    writer.close()
    return elapsed_s, answer.startswith(b"HTTP/1.1 200") and answer.endswith(b'{"Error":""}')


async def _burst(order: dict[str, Any]) -> dict[str, Any]:
    started_s = time.perf_counter()
    results = await asyncio.gather(*(_bind(order["port"], body.encode()) for body in order["bodies"]))
    return {
        "seconds": [elapsed_s for elapsed_s, _ in results],
        "errors": sum(not good for _, good in results),
        "took_s": time.perf_counter() - started_s,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_burst(json.load(sys.stdin)))))
