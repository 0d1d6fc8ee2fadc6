"""From what a pod's containers ask for to a PodRequest: the demands that have to be placed on GPUs.

The kubelet gives the devices of plain init containers to the containers after them (pkg/kubelet/cm/devicemanager,
ManagerImpl.Allocate): a container first takes what is left of that pool, then new devices. So containers that draw
from one pool must sit on the same GPU, and together need max(init, ...) units: one demand. Sidecars (restartable init
containers) and app containers keep what they take; with nothing left in the pool they are demands of their own.
"""

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from extender.scheduling.models import ANY_MODEL, ModelPatterns, RequestError

MAX_CONTAINERS = 64
MAX_UNITS = 1 << 20


class ContainerKind(Enum):
    """How the kubelet treats a container's devices."""

    INIT = "init"
    SIDECAR = "sidecar"
    APP = "app"


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """What one container asks for: GPU memory in units, or whole GPUs.

    Raises:
        RequestError: negative, absurdly large, or both at once.
    """

    name: str
    kind: ContainerKind = ContainerKind.APP
    memory_units: int = 0
    gpus: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.memory_units <= MAX_UNITS:
            raise RequestError(
                f"container {self.name}: gpu-mem is {self.memory_units}, expected 0 to {MAX_UNITS} units; "
                "ask for a plain number such as 8, not 8Gi"
            )
        if not 0 <= self.gpus <= MAX_UNITS:
            raise RequestError(f"container {self.name}: gpu is {self.gpus}, expected 0 to {MAX_UNITS} whole GPUs")
        if self.memory_units and self.gpus:
            raise RequestError(f"container {self.name}: asks for gpu-mem and for whole GPUs, expected one of them")


@dataclass(frozen=True, slots=True)
class Member:
    """A container's part in a demand: units on each of its GPUs (0 where it holds them whole), and how many GPUs.

    `first` is the place of its first GPU among the GPUs of the demand.
    """

    container: str
    units: int
    gpus: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """`gpus` different GPUs with `units` free on each; `units` 0 means that each must be idle and is held whole."""

    units: int
    gpus: int
    members: tuple[Member, ...] = field(default=(), compare=False)

    @property
    def whole(self) -> bool:
        """Whether the GPUs are held whole."""
        return self.units == 0


@dataclass(frozen=True, slots=True)
class PodRequest:
    """All that placing a pod depends on.

    Equality and hash leave out container names: pods of one shape share every table that is kept per request.

    Args:
        demands: what to place, in the order in which the kubelet admits.
        models: GPU models that the pod accepts.
        policy: policy that the pod asks for; empty for the cluster's.
        cpu_milli: effective CPU request, thousandths of a core.
        memory_bytes: effective memory request.
        containers: the containers that ask for GPUs, in admission order.
        gpu_count: over how many GPUs each container's memory is spread.
    """

    demands: tuple[Demand, ...]
    models: ModelPatterns = ANY_MODEL
    policy: str = ""
    cpu_milli: int = 0
    memory_bytes: int = 0
    containers: tuple[ContainerRequest, ...] = field(default=(), compare=False)
    gpu_count: int = 1

    @property
    def memory_units(self) -> int:
        """Units of shared GPU memory in all."""
        return sum(demand.units * demand.gpus for demand in self.demands)

    @property
    def whole_gpus(self) -> int:
        """GPUs held whole in all."""
        return sum(demand.gpus for demand in self.demands if demand.whole)


@lru_cache(maxsize=8192)
def pod_request(
    containers: tuple[ContainerRequest, ...],
    *,
    gpu_count: int = 1,
    models: ModelPatterns = ANY_MODEL,
    policy: str = "",
    cpu_milli: int = 0,
    memory_bytes: int = 0,
) -> PodRequest:
    """The request of a pod whose GPU containers are `containers`, in admission order.

    Raises:
        RequestError: `gpu_count` does not divide a container's memory or has nothing to divide, or the pod is absurd.
    """
    asking = tuple(container for container in containers if container.memory_units or container.gpus)
    if len(asking) > MAX_CONTAINERS:
        raise RequestError(f"{len(asking)} containers ask for GPUs, expected at most {MAX_CONTAINERS}")
    _check_count(asking, gpu_count)
    return PodRequest(
        demands=_demands(asking, gpu_count),
        models=models,
        policy=policy,
        cpu_milli=cpu_milli,
        memory_bytes=memory_bytes,
        containers=asking,
        gpu_count=gpu_count,
    )


def _check_count(asking: tuple[ContainerRequest, ...], gpu_count: int) -> None:
    if not 1 <= gpu_count <= MAX_UNITS:
        raise RequestError(f"gpu-count is {gpu_count}, expected 1 or more GPUs")
    if gpu_count == 1:
        return
    if asking and not any(container.memory_units for container in asking):
        raise RequestError(f"gpu-count is {gpu_count} but no container asks for gpu-mem, expected gpu-mem to divide")
    for container in asking:
        if container.memory_units % gpu_count:
            raise RequestError(
                f"container {container.name}: gpu-mem {container.memory_units} does not divide by gpu-count {gpu_count}"
            )


def _demands(asking: tuple[ContainerRequest, ...], gpu_count: int) -> tuple[Demand, ...]:
    shared = [(c, c.memory_units // gpu_count) for c in asking if c.memory_units]
    whole = [(c, c.gpus) for c in asking if c.gpus]
    demands: list[Demand] = []
    for group in _pooled(shared, divided=gpu_count > 1):
        parts = tuple(Member(container.name, amount, gpu_count) for container, amount, _ in group.members)
        demands.append(Demand(group.total, gpu_count, parts))
    for group in _pooled(whole, divided=False):
        parts = tuple(Member(container.name, 0, amount, first) for container, amount, first in group.members)
        demands.append(Demand(0, group.total, parts))
    return tuple(demands)


@dataclass(slots=True)
class _Group:
    """Containers that draw from one pool: `total` devices in all, of which sidecars and apps `kept` the first."""

    total: int = 0
    kept: int = 0
    members: list[tuple[ContainerRequest, int, int]] = field(default_factory=list)

    @property
    def pool(self) -> int:
        return self.total - self.kept

    def add(self, container: ContainerRequest, amount: int) -> None:
        self.members.append((container, amount, self.kept))
        self.total = max(self.total, self.kept + amount)
        if container.kind is not ContainerKind.INIT:
            self.kept += amount


def _pooled(asked: list[tuple[ContainerRequest, int]], *, divided: bool) -> list[_Group]:
    """Group the containers, given with what they ask for; a pool that is used up ends its group."""
    groups: list[_Group] = []
    for container, amount in asked:
        pool = groups[-1].pool if groups else 0
        if divided and amount < pool:
            raise RequestError(
                f"container {container.name}: asks for less gpu-mem than an init container before it; with gpu-count "
                "the kubelet would divide it unevenly, expected at least as much"
            )
        if not pool:
            groups.append(_Group())
        groups[-1].add(container, amount)
    return groups
