"""Short ways to write down nodes, requests and pods in the tests of the scheduling core."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from extender.contract.containers import ContainerKind
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid, UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import Holder, NodeInfo, NodeRecord, node_info
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, parse_models
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES

UNIT_MIB = UnitMib(1024)
BINPACK = POLICIES["binpack"]
SPREAD = POLICIES["spread"]
T4 = "Tesla T4"
A100 = "NVIDIA A100-SXM4-80GB"


def uuid(index: int) -> GpuUuid:
    """UUID of the GPU at this index."""
    return GpuUuid(f"GPU-{index}")


def gpu(index: int, units: int = 16, model: str = T4, *, healthy: bool = True, outside_mib: int = 0) -> InventoryGpu:
    """A GPU of so many units."""
    return InventoryGpu(uuid(index), index, model, units * UNIT_MIB, healthy=healthy, outside_mib=outside_mib)


def mig(index: int, units: int = 9, model: str = A100, *, slices: int = 1, healthy: bool = True) -> InventoryGpu:
    """A MIG device of so many units, at this place in the node's order."""
    name = f"{slices}g.{units + 1}gb"
    place = MigDevice(GpuUuid("GPU-parent"), device=index, gi=index + 1, ci=0, profile=name, slices=slices, of=7)
    return replace(gpu(index, units, f"{model} MIG {name}", healthy=healthy), mig=place)


def gpus_of(*units: int) -> tuple[InventoryGpu, ...]:
    """GPUs of these sizes."""
    return tuple(gpu(index, size) for index, size in enumerate(units))


def record(name: str, gpus: Iterable[InventoryGpu], version: int = 1, uid: str = "") -> NodeRecord:
    """A node whose device plugin offers all units and all GPUs."""
    inventory = Inventory(UNIT_MIB, tuple(gpus))
    return NodeRecord(
        name=name,
        uid=uid or name,
        resource_version=version,
        inventory=inventory,
        memory_units=sum(inventory.units_of(each) for each in inventory.gpus),
        whole_gpus=len(inventory.gpus),
        core_percent=100 * len(inventory.gpus),
    )


def node(*units: int, holders: Iterable[Holder] = (), name: str = "node") -> NodeInfo:
    """A node with GPUs of these sizes."""
    return info(record(name, gpus_of(*units)), holders)


def info(known: NodeRecord, holders: Iterable[Holder] = ()) -> NodeInfo:
    """The node with `holders` charged."""
    return node_info(known, holders, unit_mib=UNIT_MIB)


def snapshot(*nodes: NodeInfo) -> Snapshot:
    """These nodes."""
    return Snapshot({each.name: each for each in nodes})


def app(units: int = 0, *, gpus: int = 0, core: int = 0, name: str = "main") -> ContainerRequest:
    """An app container."""
    return ContainerRequest(name, ContainerKind.APP, units, gpus, core)


def init(units: int = 0, *, gpus: int = 0, core: int = 0, name: str = "init") -> ContainerRequest:
    """A plain init container."""
    return ContainerRequest(name, ContainerKind.INIT, units, gpus, core)


def sidecar(units: int = 0, *, gpus: int = 0, core: int = 0, name: str = "sidecar") -> ContainerRequest:
    """A restartable init container."""
    return ContainerRequest(name, ContainerKind.SIDECAR, units, gpus, core)


def shares(*units: int, count: int = 1, core: int = 0, models: str = "") -> PodRequest:
    """A pod with one app container per amount of units, each with `core` percent."""
    return pod_request(
        tuple(app(amount, core=core, name=f"app-{at}") for at, amount in enumerate(units)),
        gpu_count=count,
        models=_models(models),
    )


def wholes(*gpus: int, models: str = "") -> PodRequest:
    """A pod with one app container per number of whole GPUs."""
    return pod_request(
        tuple(app(gpus=amount, name=f"app-{at}") for at, amount in enumerate(gpus)), models=_models(models)
    )


def _models(text: str) -> ModelPatterns:
    return parse_models(text) if text else ANY_MODEL


def on(
    placed: Mapping[int, int] | None = None, *, whole: Iterable[int] = (), cores: Mapping[int, int] | None = None
) -> Footprint:
    """Units per GPU index, indices of GPUs held whole, and percent of compute per GPU index."""
    return Footprint(
        {uuid(at): units for at, units in (placed or {}).items()},
        frozenset(map(uuid, whole)),
        {uuid(at): percent for at, percent in (cores or {}).items()},
    )


def holder(uid: str, footprint: Footprint | None, request: PodRequest | None = None) -> Holder:
    """A bound pod; its request is what the footprint needs unless told."""
    return Holder(uid, "default", uid, request or _request_of(footprint), footprint)


def pod(
    uid: str,
    version: int = 1,
    *,
    node: str = "",
    request: PodRequest | None = None,
    footprint: Footprint | None = None,
    priority: int = 0,
    ended: bool = False,
) -> PodRecord:
    """What the API says of a pod; its request is what the footprint needs unless told."""
    return PodRecord(
        uid=uid,
        namespace="default",
        name=uid,
        resource_version=version,
        node=node,
        request=request or _request_of(footprint),
        footprint=footprint,
        priority=priority,
        ended=ended,
    )


def _request_of(footprint: Footprint | None) -> PodRequest:
    if footprint is None:
        return shares(1)
    containers = [app(units, name=f"{at}") for at, units in footprint.shares.items()]
    if footprint.whole:
        containers.append(app(gpus=len(footprint.whole), name="whole"))
    return pod_request(tuple(containers))


def fitted(place: NodeInfo, request: PodRequest, policy: Policy = BINPACK) -> Fit:
    """The Fit of a pod that fits."""
    answer = fit(place, request, policy)
    assert isinstance(answer, Fit), answer
    return answer


def refused(place: NodeInfo, request: PodRequest, policy: Policy = BINPACK) -> Misfit:
    """The reason of a pod that does not fit."""
    answer = fit(place, request, policy)
    assert isinstance(answer, Misfit), answer
    return answer


def used(place: NodeInfo) -> dict[str, int]:
    """Units charged per GPU."""
    return {each.uuid: each.used for each in place.gpus}
