"""Turns what a pod's containers ask for into a PodRequest: the demands that have to be placed on GPUs.

The kubelet gives the devices of plain init containers to the containers after them (pkg/kubelet/cm/devicemanager,
ManagerImpl.Allocate): a container first takes what is left of that pool, then new devices. So containers that draw
from one pool must sit on the same GPU, and together need max(init, ...) units: one demand. Sidecars (restartable init
containers) and app containers keep what they take; with nothing left in the pool they are demands of their own.
Memory and compute have a pool each; containers sit together while either has something left.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from extender.contract.containers import ContainerKind
from extender.contract.units import CORE_PERCENT
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, RequestError

MAX_CONTAINERS = 64
MAX_UNITS = 1 << 20


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """What one container asks for: GPU memory in units, perhaps with compute in percent of a GPU, or whole GPUs.

    Memory and compute are over all GPUs of the container.

    Raises:
        RequestError: negative, absurdly large, memory and whole GPUs at once, or compute without memory.
    """

    name: str
    kind: ContainerKind = ContainerKind.APP
    memory_units: int = 0
    gpus: int = 0
    core_percent: int = 0

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
        if not 0 <= self.core_percent <= MAX_UNITS:
            raise RequestError(
                f"container {self.name}: gpu-core is {self.core_percent}, expected 0 to {CORE_PERCENT} percent per GPU"
            )
        if self.core_percent and self.gpus:
            raise RequestError(
                f"container {self.name}: asks for gpu-core and for whole GPUs, which include all of their compute"
            )
        if self.core_percent and not self.memory_units:
            raise RequestError(f"container {self.name}: asks for gpu-core without gpu-mem, expected both")


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
    """`gpus` different GPUs with `units` free on each; `units` 0 means that each must be idle and is held whole.

    `core_percent` is the compute that it takes of each of them, 0 where it asks for none.
    """

    units: int
    gpus: int
    members: tuple[Member, ...] = field(default=(), compare=False)
    core_percent: int = 0

    @property
    def whole(self) -> bool:
        """Whether the GPUs are held whole."""
        return self.units == 0


def without_core(demands: tuple[Demand, ...]) -> tuple[Demand, ...]:
    """The demands for memory and whole GPUs alone."""
    return tuple(replace(demand, core_percent=0) for demand in demands)


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
        asks_core: whether any demand asks for compute; worked out here.
    """

    demands: tuple[Demand, ...]
    models: ModelPatterns = ANY_MODEL
    policy: str = ""
    cpu_milli: int = 0
    memory_bytes: int = 0
    containers: tuple[ContainerRequest, ...] = field(default=(), compare=False)
    gpu_count: int = 1
    asks_core: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asks_core", any(demand.core_percent for demand in self.demands))

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
    bound: bool = False,
) -> PodRequest:
    """The request of a pod whose GPU containers are `containers`, in admission order.

    A pod that is `bound` has its compute already: it is charged, not judged.

    Raises:
        RequestError: `gpu_count` does not divide a container's memory or compute or has nothing to divide, a container
            asks for more compute than its GPUs have, or the pod is absurd.
    """
    asking = tuple(container for container in containers if container.memory_units or container.gpus)
    if len(asking) > MAX_CONTAINERS:
        raise RequestError(f"{len(asking)} containers ask for GPUs, expected at most {MAX_CONTAINERS}")
    _check_count(asking, gpu_count)
    if not bound:
        for container in asking:
            _check_core(container, gpu_count)
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
        raise RequestError(
            f"gpu-count is {gpu_count} but no container asks for gpu-mem, expected gpu-mem to spread over the GPUs"
        )
    for container in asking:
        if container.memory_units % gpu_count:
            raise RequestError(
                f"container {container.name}: gpu-mem {container.memory_units} is not divisible"
                f" by gpu-count {gpu_count}"
            )


def _check_core(container: ContainerRequest, gpu_count: int) -> None:
    if container.core_percent > CORE_PERCENT * gpu_count:
        raise RequestError(
            f"container {container.name}: gpu-core is {container.core_percent}, expected at most {CORE_PERCENT} percent"
            f" for each of its GPUs ({gpu_count})"
        )
    if container.core_percent % gpu_count:
        raise RequestError(
            f"container {container.name}: gpu-core {container.core_percent} is not divisible by gpu-count {gpu_count}"
        )


def _demands(asking: tuple[ContainerRequest, ...], gpu_count: int) -> tuple[Demand, ...]:
    shared = [(c, c.memory_units // gpu_count, c.core_percent // gpu_count) for c in asking if c.memory_units]
    whole = [(c, c.gpus, 0) for c in asking if c.gpus]
    demands: list[Demand] = []
    for group in _pooled(shared, divided=gpu_count > 1):
        parts = tuple(Member(container.name, amount, gpu_count) for container, amount, _ in group.members)
        demands.append(Demand(group.devices.total, gpu_count, parts, group.core.total))
    for group in _pooled(whole, divided=False):
        parts = tuple(Member(container.name, 0, amount, first) for container, amount, first in group.members)
        demands.append(Demand(0, group.devices.total, parts))
    return tuple(demands)


@dataclass(slots=True)
class _Pool:
    """Devices of one resource: `total` in all, of which sidecars and apps `kept` the first."""

    total: int = 0
    kept: int = 0

    @property
    def left(self) -> int:
        return self.total - self.kept

    def take(self, amount: int, *, keep: bool) -> None:
        self.total = max(self.total, self.kept + amount)
        if keep:
            self.kept += amount


@dataclass(slots=True)
class _Group:
    """Containers that draw from one pool, with what each takes and where that starts among the group's devices."""

    devices: _Pool = field(default_factory=_Pool)
    core: _Pool = field(default_factory=_Pool)
    members: list[tuple[ContainerRequest, int, int]] = field(default_factory=list)

    def add(self, container: ContainerRequest, amount: int, core_percent: int) -> None:
        self.members.append((container, amount, self.devices.kept))
        keep = container.kind is not ContainerKind.INIT
        self.devices.take(amount, keep=keep)
        self.core.take(core_percent, keep=keep)


def _pooled(asked: list[tuple[ContainerRequest, int, int]], *, divided: bool) -> list[_Group]:
    """Group the containers, given with devices and compute that they ask for; pools that are used up end a group."""
    groups: list[_Group] = []
    for container, amount, core_percent in asked:
        group = groups[-1] if groups else _Group()
        if divided and (amount < group.devices.left or 0 < core_percent < group.core.left):
            what = "gpu-mem" if amount < group.devices.left else "gpu-core"
            raise RequestError(
                f"container {container.name}: asks for less {what} than an init container before it; with gpu-count "
                "the kubelet would divide it unevenly, expected at least as much"
            )
        if not group.devices.left and not group.core.left:
            group = _Group()
            groups.append(group)
        group.add(container, amount, core_percent)
    return groups
