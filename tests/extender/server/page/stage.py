"""A cluster with something of everything, as small or large as a test wants, and its page on a real port."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.units import GpuUuid
from extender.scheduling.ledger.events import NodesListed, PodRecord, PodsListed
from extender.scheduling.nodes.node import NodeRecord
from tests.extender.objects import UNIT_MIB, Json, allocation, pod, raw
from tests.extender.served import Served

MODELS = (("NVIDIA A100-SXM4-80GB", 80), ("NVIDIA H100 80GB HBM3", 80), ("Tesla T4", 15), ("NVIDIA L40S", 45))
NAMESPACES = ("search", "vision", "speech", "research", "ads")
SIZES = (4, 8, 10, 16, 24, 40)


def gpu_node(name: str, model: str, units: int, gpus: int, *, broken: int = -1, outside: int = -1) -> Json:
    """A node whose GPU number `broken` is unhealthy, and `outside` in use by others."""
    made = [
        InventoryGpu(GpuUuid(f"GPU-{name}-{at}"), at, model, units * UNIT_MIB, enforcement="driver")
        for at in range(gpus)
    ]
    if broken >= 0:
        made[broken] = replace(made[broken], healthy=False, reason="XID 79: GPU has fallen off the bus")
    if outside >= 0:
        made[outside] = replace(made[outside], outside_mib=units * UNIT_MIB // 4)
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "annotations": {"gpupack.io/inventory": Inventory(UNIT_MIB, tuple(made)).to_json()},
        },
        "status": {
            "allocatable": {
                "cpu": "128",
                "memory": "1024Gi",
                "gpupack.io/gpu-mem": str(units * gpus),
                "gpupack.io/gpu": str(gpus),
            }
        },
    }


def staged(nodes: int, gpus: int = 8) -> Served:
    """`nodes` GPU nodes, fuller from one to the next and round again, some with trouble, and pods that wait."""
    served = Served()
    cluster = served.cluster
    made: list[NodeRecord] = []
    pods: list[PodRecord] = []
    for at in range(nodes):
        model, units = MODELS[at * 7 // 3 % len(MODELS)]
        name = f"gpu-{at:04}"
        broken = at % gpus if at % 61 == 3 else -1
        body = gpu_node(name, model, units, gpus, broken=broken, outside=5 % gpus if at % 47 == 5 else -1)
        made.append(cluster.decoder.node(raw(body)))
        cluster.node_names.append(name)
        pods += [
            cluster.record(body)
            for gpu in range(gpus)
            if gpu != broken
            for body in _pods(f"GPU-{name}-{gpu}", name, units, at, gpu)
        ]
    cluster.state.apply(NodesListed(tuple(made), 1))
    cluster.state.apply(PodsListed(tuple(pods), 1))
    for at, (units, more) in enumerate(((79, {}), (16, {"gpu-model": "H200"}), (60, {"gpu-count": "3"}))):
        waits = pod(f"waits-{at}", units, annotations=more, priority=10 - at)
        waits["metadata"]["namespace"] = NAMESPACES[at]
        cluster.show(waits)
        cluster.filter(waits)
    return served


def _pods(uuid: str, node: str, units: int, at: int, gpu: int) -> Iterator[Json]:
    """Pods on one GPU."""
    wanted = units * ((at * 13 + gpu * 5) % 23) // 20
    used = part = 0
    while used < wanted and part < 4:
        size = min(SIZES[(at + gpu + part) % len(SIZES)], units - used)
        if size <= 0:
            return
        name = f"{('chat', 'rank', 'embed', 'train')[(at + part) % 4]}-{at}-{gpu}-{part}"
        shown = pod(name, size, node=node, annotations={"allocation": allocation({"main": {uuid: size}})})
        shown["metadata"]["namespace"] = NAMESPACES[(at * 3 + part) % len(NAMESPACES)]
        yield shown
        used += size
        part += 1


@contextmanager
def serving(served: Served) -> Iterator[str]:
    """The address of the page."""
    server = served.server()
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
