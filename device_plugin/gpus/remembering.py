"""Keeps GPUs in sight that pods still have, though the device plugin has not found them since it started.

They are known from the inventory that an earlier run of the plugin published. Without them nobody could tell where such
a pod is, and the extender would have to charge it to a GPU that it is not on.
"""

from collections.abc import Callable, Collection, Iterable

from device_plugin.gpus.gpu import GpuSample
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.mig import card_of
from extender.contract.units import GpuUuid

UNSEEN = "pods have it, and since the device plugin started it was not found or could not be used"


class EarlierGpus:
    """The GPUs of an earlier inventory that have not been seen since.

    `held` gives the UUIDs of the GPUs that pods were given; None while that is not known.
    """

    def __init__(self, held: Callable[[], Collection[GpuUuid] | None] = lambda: ()) -> None:
        self.held = held
        self._earlier: tuple[GpuSample, ...] = ()
        self._seen: frozenset[GpuUuid] = frozenset()
        self._were_held: Collection[GpuUuid] = ()

    def restore(self, inventory: Inventory) -> None:
        """Take what an earlier run of the plugin published; from any thread."""
        self._earlier = tuple(_unseen(gpu) for gpu in inventory.gpus)

    def see(self, shown: Iterable[GpuSample]) -> None:
        """Note what the driver shows: what becomes of those is known without the inventory.

        A GPU of which MIG devices are shown is seen, too: it cannot be used as a whole any more.
        """
        self._seen |= _named(shown)

    def missing(self, shown: Iterable[GpuSample]) -> tuple[GpuSample, ...]:
        """Those that pods have and that are not among these; all are unhealthy."""
        unseen = [each for each in self._earlier if each.uuid not in self._seen | _named(shown)]
        held = self.held() if unseen else None
        if held is not None:
            self._were_held = held
        return tuple(each for each in unseen if each.uuid in self._were_held)


def _named(shown: Iterable[GpuSample]) -> frozenset[GpuUuid]:
    return frozenset(uuid for sample in shown for uuid in (sample.uuid, card_of(sample.uuid, sample.mig)))


def _unseen(gpu: InventoryGpu) -> GpuSample:
    return GpuSample(
        uuid=gpu.uuid,
        index=gpu.index,
        model=gpu.model,
        memory_mib=gpu.memory_mib,
        healthy=False,
        reason=UNSEEN,
        numa_node=gpu.numa_node,
        mig=gpu.mig,
    )
