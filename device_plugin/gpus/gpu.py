"""Describes the node's GPUs at one moment, for look-up by UUID and for the inventory annotation."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from device_plugin.gpus.standing import ADVISORY_ONLY, Standing
from extender.contract.cordon import BY_HAND
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid, UnitMib, Units, units_in


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One physical GPU, or one MIG device, at one moment.

    Args:
        uuid: NVML UUID, `GPU-...` or `MIG-...`.
        index: NVML index, for display only; of a MIG device that of its GPU.
        model: product name as NVML gives it.
        memory_mib: total framebuffer memory.
        healthy: False takes the GPU out of service until a later sample says True.
        reason: why it is unhealthy, in words; empty when healthy.
        numa_node: NUMA node of its PCIe slot, None when unknown.
        outside_mib: memory used outside of pods.
        standing: how containers can be held to their share on it.
        mig: which MIG device it is; None for a whole physical GPU.

    Raises:
        ContractError: a value that the inventory annotation cannot carry.
    """

    uuid: GpuUuid
    index: int
    model: str
    memory_mib: int
    healthy: bool = True
    reason: str = ""
    numa_node: int | None = None
    outside_mib: int = 0
    standing: Standing = ADVISORY_ONLY
    mig: MigDevice | None = None

    def __post_init__(self) -> None:
        self.published()

    @property
    def cordoned(self) -> bool:
        """Whether a cordon set by hand, and nothing else, keeps it out of service."""
        return not self.healthy and self.reason == BY_HAND

    @property
    def rank(self) -> tuple[int, int]:
        """Where it stands in NVML's order: its index, and its number among the MIG devices of a GPU, or -1."""
        return self.index, -1 if self.mig is None else self.mig.device

    def published(self) -> InventoryGpu:
        """The same GPU as the inventory annotation shows it."""
        return InventoryGpu(
            uuid=self.uuid,
            index=self.index,
            model=self.model,
            memory_mib=self.memory_mib,
            healthy=self.healthy,
            reason=self.reason,
            numa_node=self.numa_node,
            outside_mib=self.outside_mib,
            enforcement=self.standing.rung.value,
            core_enforcement=self.standing.rung.value if self.standing.holds_core else "",
            mig=self.mig,
        )


class GpuSourceError(Exception):
    """No GPU can be read at the moment; the message says why and what would help.

    Args:
        message: that.
        known: the GPUs as they were last seen, without what is known to have changed since.
    """

    def __init__(self, message: str, known: tuple[GpuSample, ...] = ()) -> None:
        super().__init__(message)
        self.known = known


NO_ANSWER = "the driver has not answered for a while"


class GpuSourceStalledError(GpuSourceError):
    """A call into the driver does not return, and nothing can interrupt it."""

    def __init__(self) -> None:
        super().__init__(NO_ANSWER)


CLOSED = "NVML is closed, because every GPU is cordoned and no pod has one"


class GpuSourceClosedError(GpuSourceError):
    """The driver is not called at the moment, so that its GPUs can be reset."""

    def __init__(self) -> None:
        super().__init__(CLOSED)


class GpuSource(Protocol):
    """Where samples come from: NVML, or a file that describes simulated GPUs."""

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU of the node, in NVML's order.

        Raises:
            GpuSourceError: no GPU can be read.
        """
        ...

    def close(self) -> None:
        """Release what the source holds; it is not used afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Gpus:
    """The node's GPUs for look-up by UUID, in NVML's order.

    Raises:
        ValueError: two samples with one UUID.
    """

    unit_mib: UnitMib
    samples: tuple[GpuSample, ...] = ()
    _positions: Mapping[GpuUuid, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        positions = {sample.uuid: position for position, sample in enumerate(self.samples)}
        if len(positions) != len(self.samples):
            raise ValueError(f"GPUs {[sample.uuid for sample in self.samples]}: expected each UUID once")
        object.__setattr__(self, "_positions", positions)

    def __iter__(self) -> Iterator[GpuSample]:
        return iter(self.samples)

    def get(self, uuid: GpuUuid) -> GpuSample | None:
        """The GPU with that UUID, None when the node has none."""
        position = self._positions.get(uuid)
        return None if position is None else self.samples[position]

    def position(self, uuid: GpuUuid) -> int:
        """Place of a GPU in NVML's order; unknown ones come last."""
        return self._positions.get(uuid, len(self.samples))

    def units(self, uuid: GpuUuid) -> Units:
        """All memory units of a GPU; 0 for an unknown one."""
        sample = self.get(uuid)
        return Units(0) if sample is None else units_in(sample.memory_mib, self.unit_mib)

    def is_slice(self, uuid: GpuUuid) -> bool:
        """Whether that GPU is a MIG device."""
        sample = self.get(uuid)
        return sample is not None and sample.mig is not None

    def models(self, uuids: Iterable[GpuUuid]) -> frozenset[str]:
        """The models of these GPUs, as far as they are known."""
        return frozenset(sample.model for uuid in uuids if (sample := self.get(uuid)) is not None)

    def inventory(self) -> Inventory:
        """What the node's annotation says."""
        return Inventory(self.unit_mib, tuple(sample.published() for sample in self.samples))
