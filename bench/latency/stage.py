"""A stand-in for an API server at full size: lists, watches and Bindings of a load's objects, for little CPU.

The simulated API server keeps every object and every rule; at 50,000 pods of 8 KB it would cost more than what is
measured. This one keeps the bytes of its lists, carries out Bindings of the pods that it was told to create, and plays
events at a given rate. `POST /stage/...` is how the benchmark directs it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench.latency.load import SIZES_UNITS, Body, Load, Pods, Population, encoded
from bench.simulated.apiserver import http11
from bench.simulated.client import Access, write_kubeconfig
from extender.contract.units import GpuUuid

_PAGE = 500
_TICK_S = 0.002


class Stage:
    """The objects, the open watches of pods, and what the benchmark asks for."""

    def __init__(self, population: Population) -> None:
        self._pods = population.pods
        self._lists = {
            "/api/v1/nodes": [encoded(body) for body in population.nodes()],
            "/api/v1/pods": [encoded(body) for body in population.bound()],
        }
        self._gpus = {spec.name: [gpu.uuid for gpu in spec.inventory().gpus] for spec in population.load.specs()}
        self.version = sum(len(items) for items in self._lists.values()) + 1
        self._created: dict[str, Body] = {}
        self.watchers: list[Callable[[bytes], None]] = []
        self.played = 0
        self._to_play = 0
        self._lives: list[bytes] = []

    def list_page(self, path: str, query: dict[str, str]) -> bytes:
        """One page; the token is the position."""
        items = self._lists[path]
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(items)
        page = items[start : start + limit]
        token = str(start + limit) if start + limit < len(items) else ""
        metadata = {"resourceVersion": str(self.version), "continue": token}
        return b'{"kind":"List","apiVersion":"v1","metadata":%b,"items":[%b]}' % (
            json.dumps(metadata).encode(),
            b",".join(page),
        )

    def create(self, order: Body) -> bytes:
        """Create pending pods; the answer has them unless nobody wants it (`told` is false)."""
        made: list[Body] = []
        sizes = order.get("units") or SIZES_UNITS
        for number in range(order["count"]):
            self.version += 1
            cpu_milli = order.get("cpu_milli", 500) + order.get("cpu_step", 0) * number
            name = f"{order['prefix']}-{number}"
            body = self._pods.pending(name, sizes[number % len(sizes)], self.version, cpu_milli=cpu_milli)
            self._created[name] = body
            made.append(body)
            self._publish("ADDED", encoded(body))
        return json.dumps(made if order.get("told", True) else []).encode()

    def bind(self, name: str, binding: Body) -> tuple[int, bytes]:
        """Carry out a Binding, as the API server does: annotations and node in one write."""
        body = self._created.get(name)
        if body is None:
            return 404, b'{"kind":"Status","status":"Failure","reason":"NotFound","code":404}'
        if body["spec"].get("nodeName"):
            return 409, b'{"kind":"Status","status":"Failure","reason":"Conflict","code":409}'
        self.version += 1
        body["metadata"]["annotations"] = binding["metadata"].get("annotations", {})
        body["metadata"]["resourceVersion"] = str(self.version)
        body["spec"]["nodeName"] = binding["target"]["name"]
        self._publish("MODIFIED", encoded(body))
        return 201, b'{"kind":"Status","status":"Success","code":201}'

    def pod(self, name: str) -> tuple[int, bytes]:
        """One created pod."""
        body = self._created.get(name)
        return (200, encoded(body)) if body is not None else (404, b'{"kind":"Status","reason":"NotFound","code":404}')

    def play(self, order: Body) -> bytes:
        """Begin to play `count` events at `rate` per second: lives of pods, on all nodes in turn."""
        nodes = list(self._gpus)
        for number in range(-(-order["count"] // 4)):
            node = nodes[number % len(nodes)]
            self._lives.extend(self._life(f"life-{self.version}-{number}", node, self._gpus[node][-1]))
        self._lives = self._lives[: order["count"]]
        self.played, self._to_play = 0, len(self._lives)
        asyncio.get_running_loop().create_task(self._play(float(order["rate"])))
        return b"{}"

    def _life(self, name: str, node: str, gpu: GpuUuid) -> list[bytes]:
        """Pending, bound, running, gone."""
        first = self.version + 1
        self.version += 4
        running = self._pods.bound(name, 4, first + 2, node, gpu)
        running["status"]["phase"] = "Running"
        gone = {**running, "metadata": {**running["metadata"], "resourceVersion": str(first + 3)}}
        return [
            _line("ADDED", encoded(self._pods.pending(name, 4, first))),
            _line("MODIFIED", encoded(self._pods.bound(name, 4, first + 1, node, gpu))),
            _line("MODIFIED", encoded(running)),
            _line("DELETED", encoded(gone)),
        ]

    async def _play(self, rate: float) -> None:
        started_s = time.perf_counter()
        while self.played < self._to_play:
            due = min(self._to_play, int((time.perf_counter() - started_s) * rate) + 1)
            if due > self.played:
                block = b"".join(self._lives[self.played : due])
                for watcher in self.watchers:
                    watcher(block)
                self.played = due
            await asyncio.sleep(_TICK_S)
        self._lives = []

    def _publish(self, kind: str, raw: bytes) -> None:
        for watcher in self.watchers:
            watcher(_line(kind, raw))


def _line(kind: str, raw: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)


class _Connection(asyncio.Protocol):
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._write in self._stage.watchers:
            self._stage.watchers.remove(self._write)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := http11.parse_head(self._buffer)) is not None:
            if len(self._buffer) < head.length + head.body_length:
                return
            body = bytes(self._buffer[head.length : head.length + head.body_length])
            del self._buffer[: head.length + head.body_length]
            self._serve(head.request, body)

    def _write(self, block: bytes) -> None:
        if self._transport is not None:
            self._transport.write(http11.chunk(block))

    def _serve(self, request: http11.Request, body: bytes) -> None:
        transport, stage, path = self._transport, self._stage, request.path
        if transport is None:
            return
        if request.query.get("watch") == "true":
            transport.write(http11.WATCH_HEAD)
            if path.endswith("/pods"):
                stage.watchers.append(self._write)
            return
        code, answer = 200, b"ok"
        if path.startswith("/stage/"):
            answer = self._direct(path, body)
        elif request.method == "POST" and path.endswith("/binding"):
            code, answer = stage.bind(path.split("/")[-2], json.loads(body))
        elif path in {"/api/v1/nodes", "/api/v1/pods"}:
            answer = stage.list_page(path, dict(request.query))
        elif "/pods/" in path:
            code, answer = stage.pod(path.split("/")[-1])
        transport.write(http11.render(code, answer))

    def _direct(self, path: str, body: bytes) -> bytes:
        if path == "/stage/create":
            return self._stage.create(json.loads(body))
        if path == "/stage/play":
            return self._stage.play(json.loads(body))
        return json.dumps({"played": self._stage.played}).encode()


async def _main(population: Population, port: int) -> None:
    stage = Stage(population)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stage), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main(arguments: list[str]) -> None:
    """Serve until killed; arguments: port, kubeconfig to write, nodes, GPUs, pods per node, bytes per pod, diverse."""
    port, kubeconfig, nodes, gpus, per_node, size_bytes, diverse = arguments
    write_kubeconfig(Path(kubeconfig), Access(f"http://127.0.0.1:{port}"))
    population = Population(Load(int(nodes), int(gpus)), int(per_node), Pods(int(size_bytes)), diverse == "True")
    asyncio.run(_main(population, int(port)))


if __name__ == "__main__":
    main(sys.argv[1:])
