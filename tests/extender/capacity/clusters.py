"""Short ways to write down clusters for the tests of planning."""

from collections.abc import Iterable
from dataclasses import replace

from extender.capacity.cluster import Cluster, Controller, PodTraits
from extender.capacity.eligibility import ANYWHERE, Constraints, NodeTraits
from extender.contract.inventory import InventoryGpu
from extender.contract.units import GpuUuid
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from tests.extender.scheduling.builders import T4, UNIT_MIB, record, shares

_GIB = 1 << 30
OWNER = Controller("Deployment", "llm")


def uuid(node: str, at: int) -> GpuUuid:
    """UUID of a GPU of a node made by `machine`."""
    return GpuUuid(f"{node}-{at}")


def machine(name: str, *units: int, model: str = T4, cpu: int = 64, memory_gib: int = 512) -> NodeRecord:
    """A node with GPUs of these sizes, each with a UUID of its own; without any it has no device plugin."""
    gpus = tuple(InventoryGpu(uuid(name, at), at, model, size * UNIT_MIB) for at, size in enumerate(units))
    known = record(name, gpus) if gpus else NodeRecord(name, resource_version=1)
    return replace(known, cpu_milli=1000 * cpu, memory_bytes=memory_gib * _GIB)


def running(
    name: str,
    node: str,
    units: int = 0,
    *,
    gpu: int = 0,
    whole: bool = False,
    request: PodRequest | None = None,
    cpu: int = 0,
) -> PodRecord:
    """A pod on one GPU of a node, or on none with neither `units` nor `whole`."""
    footprint = None
    if whole:
        footprint = Footprint(whole=frozenset({uuid(node, gpu)}))
    elif units:
        footprint = Footprint({uuid(node, gpu): units})
        request = request or shares(units)
    if request is not None:
        request = replace(request, cpu_milli=1000 * cpu)
    return PodRecord(
        uid=name,
        namespace="default",
        name=name,
        resource_version=1,
        node=node,
        request=request,
        footprint=footprint,
        cpu_milli=1000 * cpu,
    )


def owned(constraints: Constraints = ANYWHERE, **traits: object) -> PodTraits:
    """Traits of a pod of a Deployment."""
    return replace(PodTraits(constraints, OWNER), **traits)  # type: ignore[arg-type]


def cluster(
    nodes: Iterable[NodeRecord],
    pods: Iterable[PodRecord] = (),
    *,
    node_traits: Iterable[NodeTraits] = (),
    pod_traits: dict[str, PodTraits] | None = None,
) -> Cluster:
    """These nodes and pods; every pod belongs to a Deployment unless told."""
    everyone = tuple(pods)
    return Cluster(
        UNIT_MIB,
        tuple(nodes),
        everyone,
        {traits.name: traits for traits in node_traits},
        {**{pod.uid: owned() for pod in everyone}, **(pod_traits or {})},
    )
