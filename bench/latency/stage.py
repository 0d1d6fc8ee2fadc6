"""Runs the simulated API server as a process that holds a benchmark's cluster, and takes the benchmark's orders.

Objects are stored as they are, so that pods keep the size that was asked for, and events are made before they are
played: at 50,000 pods and 10,000 events a second the server must not cost more than what is measured. The benchmark
directs it through `POST /stage/...`.
"""

import asyncio
import gc
import json
import sys
import threading
import time
from pathlib import Path

from bench.latency.load import SIZES_UNITS, Body, Load, Pods, Population, encoded
from bench.simulated.apiserver.objects.resources import NODES, PODS
from bench.simulated.apiserver.objects.store import Event, Record
from bench.simulated.apiserver.server import ApiServer
from extender.contract.units import GpuUuid

_TICK_S = 0.002


class Stage:
    """An API server with the objects of a population.

    Args:
        population: what is there at the start.
        port: where it listens.
    """

    def __init__(self, population: Population, port: int) -> None:
        self._pods = population.pods
        self._gpus = {spec.name: [gpu.uuid for gpu in spec.inventory().gpus] for spec in population.load.specs()}
        self._played = 0
        self._to_play: list[Event] = []
        self._task: asyncio.Task[None] | None = None
        orders = {"create": self._create, "play": self._play, "played": self._count}
        self.server = ApiServer(port=port, extra={f"/stage/{name}": order for name, order in orders.items()})
        for resource, bodies in ((NODES, population.nodes()), (PODS, population.bound())):
            for body in bodies:
                self.server.put(resource, body)

    def _create(self, content: bytes) -> bytes:
        """Create pending pods; the answer has them unless `told` is false."""
        order = json.loads(content)
        made: list[Body] = []
        sizes = order.get("units") or SIZES_UNITS
        for number in range(order["count"]):
            cpu_milli = order.get("cpu_milli", 500) + order.get("cpu_step", 0) * number
            name = f"{order['prefix']}-{number}"
            made.append(self._pods.pending(name, sizes[number % len(sizes)], cpu_milli=cpu_milli))
            self.server.put(PODS, made[-1])
        return encoded(made) if order.get("told", True) else b"[]"

    def _play(self, content: bytes) -> bytes:
        """Begin to play `count` events at `rate` per second: pods that come and go, on all nodes in turn."""
        order = json.loads(content)
        nodes = list(self._gpus)
        events: list[Event] = []
        for number in range(-(-order["count"] // 4)):
            node = nodes[number % len(nodes)]
            events += self._life(self.server.take_revisions(4), node, self._gpus[node][-1])
        self._played, self._to_play = 0, events[: order["count"]]
        self._task = asyncio.get_running_loop().create_task(self._send(float(order["rate"])))
        return b"{}"

    def _count(self, _content: bytes) -> bytes:
        return encoded({"played": self._played})

    def _life(self, before: int, node: str, gpu: GpuUuid) -> list[Event]:
        """Pending, bound, running, gone; at the four revisions after `before`."""
        name = f"life-{before}"
        bound = self._pods.bound(name, 4, node, gpu)
        running = {**bound, "status": {**bound["status"], "phase": "Running"}}
        states = (self._pods.pending(name, 4), bound, running, running)
        kinds = ("ADDED", "MODIFIED", "MODIFIED", "DELETED")
        return [
            _event(kind, body, revision)
            for revision, (kind, body) in enumerate(zip(kinds, states, strict=True), before + 1)
        ]

    async def _send(self, rate: float) -> None:
        started_s = time.perf_counter()
        while self._played < len(self._to_play):
            due = min(len(self._to_play), int((time.perf_counter() - started_s) * rate) + 1)
            if due > self._played:
                self.server.show(PODS, self._to_play[self._played : due])
                self._played = due
            await asyncio.sleep(_TICK_S)


def _event(kind: str, body: Body, revision: int) -> Event:
    metadata = {**body["metadata"], "resourceVersion": str(revision)}
    shown = {**body, "metadata": metadata}
    key = f"{metadata['namespace']}/{metadata['name']}"
    record = Record(key, metadata["uid"], revision, PODS.fields_of(shown), metadata["labels"], encoded(shown))
    return Event(kind, revision, record)


def main(arguments: list[str]) -> None:
    """Serve until killed; arguments: port, kubeconfig to write, nodes, GPUs, pods per node, bytes per pod, diverse."""
    port, kubeconfig, nodes, gpus, per_node, size_bytes, diverse = arguments
    population = Population(Load(int(nodes), int(gpus)), int(per_node), Pods(int(size_bytes)), diverse == "True")
    with Stage(population, int(port)).server as server:
        server.write_kubeconfig(Path(kubeconfig))
        # The objects of the start stay; each look through them for garbage would take 10 ms.
        gc.freeze()
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
