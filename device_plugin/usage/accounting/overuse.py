"""Finds containers that use more memory than their share, and remembers since when; times come from the caller."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.usage.accounting.usage import ContainerUse
from extender.contract.units import GpuUuid, UnitMib, mib_of

BOUNDLESS_MIB = 1 << 30
"""The share of a container that has a whole GPU: nothing to exceed."""

ShareKey = tuple[ContainerKey, GpuUuid]


@dataclass(frozen=True, slots=True)
class Overuse:
    """One container that uses more of one GPU than its share; `since_s` is the time at which that began."""

    key: ContainerKey
    gpu: GpuUuid
    used_mib: int
    share_mib: int
    since_s: float
    is_past_grace: bool

    @property
    def text(self) -> str:
        """The same in words."""
        name = self.key.container
        return f"container {name} uses {self.used_mib} MiB of GPU {self.gpu}, its share is {self.share_mib} MiB"


class OveruseRecord:
    """Remembers since when each container has been over its share.

    Args:
        grace_s: how long a container may be over its share.
        tolerance_mib: excess that is tolerated.
    """

    def __init__(self, grace_s: float, tolerance_mib: int) -> None:
        self._grace_s = grace_s
        self._tolerance_mib = tolerance_mib
        self._since: dict[ShareKey, float] = {}

    def note(
        self, uses: Iterable[ContainerUse], shares: Mapping[ShareKey, int], unknown: Iterable[GpuUuid], now_s: float
    ) -> tuple[Overuse, ...]:
        """Every container that is over its share now; pods without any share are not judged here.

        GPUs that are `unknown` at this moment keep their record, but no container on them is reported.
        """
        known_pods = {key.uid for key, _ in shares}
        blind = set(unknown)
        found: list[Overuse] = []
        since: dict[ShareKey, float] = {at: since_s for at, since_s in self._since.items() if at[1] in blind}
        for use in uses:
            share_mib = shares.get((use.key, use.gpu), 0)
            if use.key.uid not in known_pods or use.used_mib <= share_mib + self._tolerance_mib:
                continue
            began_s = self._since.get((use.key, use.gpu), now_s)
            since[use.key, use.gpu] = began_s
            past = now_s - began_s >= self._grace_s
            found.append(Overuse(use.key, use.gpu, use.used_mib, share_mib, began_s, past))
        self._since = since
        return tuple(found)


def shares_of(pods: Iterable[BoundPod], unit_mib: UnitMib) -> dict[ShareKey, int]:
    """MiB that each container may use of each GPU, as the kubelet gave them; whole GPUs have no share to exceed."""
    return {
        (ContainerKey(pod.uid, need.name), uuid): BOUNDLESS_MIB if need.whole_gpus else mib_of(units, unit_mib)
        for pod in pods
        for need in pod.needs
        for uuid, units in pod.allocated.get(need.name, {}).items()
    }


def limited(shares: Mapping[ShareKey, int]) -> dict[ShareKey, int]:
    """The shares that are less than a whole GPU."""
    return {key: share_mib for key, share_mib in shares.items() if share_mib < BOUNDLESS_MIB}
