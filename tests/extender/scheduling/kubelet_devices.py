"""The kubelet's device manager, naively: sets of device IDs, a pool of init containers' devices, arbitrary choices.

Source: pkg/kubelet/cm/devicemanager, ManagerImpl.Allocate and devicesToAllocate. One Allocate per container and
resource, init containers first; a container is first served from the pool, in the arbitrary order of a Go set, then
with new devices, for which the plugin's preferred answer is followed. A plain init container's devices go to the pool,
those of sidecars and apps leave it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from extender.contract.containers import ContainerKind
from extender.scheduling.pods.request import ContainerRequest

Device = tuple[str, int]
"""GPU, and which of its units; a whole GPU is its unit 0."""

Preferred = Callable[[ContainerRequest, frozenset[Device], int], Iterable[Device]]
"""From a container, its reused devices and how many it misses to new devices."""


def admitted(
    containers: Iterable[ContainerRequest],
    amount: Callable[[ContainerRequest], int],
    preferred: Preferred,
    random: Random,
) -> dict[str, frozenset[Device]]:
    """The devices of one resource that each container gets, in admission order."""
    pool: set[Device] = set()
    given: dict[str, frozenset[Device]] = {}
    for container in containers:
        wanted = amount(container)
        if not wanted:
            continue
        reused = frozenset(random.sample(sorted(pool), min(wanted, len(pool))))
        got = reused | frozenset(preferred(container, reused, wanted - len(reused)))
        assert len(got) == wanted
        given[container.name] = got
        pool = pool | got if container.kind is ContainerKind.INIT else pool - got
    return given


def memory(container: ContainerRequest) -> int:
    """Units of GPU memory that it asks for."""
    return container.memory_units


def core(container: ContainerRequest) -> int:
    """Percent of compute that it asks for."""
    return container.core_percent


def whole(container: ContainerRequest) -> int:
    """Whole GPUs that it asks for."""
    return container.gpus


class EvenOnOwnGpus:
    """Prefers the GPUs of the reused devices, else `gpus` GPUs that nobody has; always the same amount on each."""

    def __init__(self, gpus: int = 1) -> None:
        self._gpus = gpus
        self._opened = 0
        self._next = 0

    def __call__(self, _container: ContainerRequest, reused: frozenset[Device], missing: int) -> list[Device]:
        if not missing:
            return []
        on = sorted({gpu for gpu, _ in reused}) or [f"gpu-{self._opened + at:03}" for at in range(self._gpus)]
        self._opened += 0 if reused else self._gpus
        new = []
        for gpu in on:
            for _ in range(missing // len(on)):
                self._next += 1
                new.append((gpu, self._next))
        return new


class EvenOnPlannedGpus:
    """Prefers the GPUs planned for the container, so that it has the same amount on each of them."""

    def __init__(self, plan: Mapping[str, Sequence[str]]) -> None:
        self._plan = plan
        self._next = 0

    def __call__(self, container: ContainerRequest, reused: frozenset[Device], missing: int) -> list[Device]:
        on = self._plan[container.name]
        share = (missing + len(reused)) // len(on)
        new: list[Device] = []
        for gpu in on:
            for _ in range(share - sum(1 for held, _ in reused if held == gpu)):
                self._next += 1
                new.append((gpu, self._next))
        return new


def per_gpu(given: dict[str, frozenset[Device]]) -> dict[str, int]:
    """Distinct devices on each GPU."""
    return dict(Counter(gpu for gpu, _ in frozenset().union(*given.values())))
