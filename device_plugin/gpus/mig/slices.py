"""Decides which MIG devices of a GPU are offered, and remembers them until nobody has them after they are destroyed.

A MIG device is a compute instance in a GPU instance, which has the memory. Only a GPU instance with exactly one compute
instance is offered: several share its memory, and each shows all of it. Terms:
https://docs.nvidia.com/datacenter/tesla/mig-user-guide
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from device_plugin.gpus.answers import MemorySize
from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.mig.profiles import profile_in
from device_plugin.gpus.plausible import odd_memory, odd_model
from device_plugin.gpus.xids import XidPlace
from extender.contract.allocation import LARGEST
from extender.contract.mig import MigDevice, parse_profile
from extender.contract.units import GpuUuid

NO_DEVICES = "MIG is enabled and has no devices: nvidia-smi mig -cgi"
SEVERAL = "its GPU instance has several compute instances, which share its memory"
OLD_DRIVER = "driver older than R470: its MIG devices have no UUIDs of their own"
DESTROYED = "the MIG device was destroyed"
TWICE = "more than one MIG device has its UUID"
HIDDEN = "other MIG devices of its GPU do not say whether they share its memory"
NO_SIZE = "NVML does not say how much memory it has"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SlicedGpu:
    """A GPU in MIG mode."""

    uuid: GpuUuid
    index: int
    numa_node: int | None = None


@dataclass(frozen=True, slots=True)
class SeenSlice:
    """What the driver says of one MIG device at the moment; None is what it does not say.

    Args:
        device: its number on its GPU.
        uuid: also None when it cannot be one.
        gi: ID of its GPU instance.
        ci: ID of its compute instance.
        model: its name.
        memory: its size.
        gpu_slices: slices of the GPU that its GPU instance has.
        compute_slices: those of them that its compute instance has.
        problem: why it cannot be used at the moment; empty when all that is needed was answered.
    """

    device: int
    uuid: GpuUuid | None = None
    gi: int | None = None
    ci: int | None = None
    model: str = ""
    memory: MemorySize | None = None
    gpu_slices: int | None = None
    compute_slices: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The MIG devices of one GPU at the moment.

    Args:
        slices: those that NVML gives a handle for, in the order of their numbers.
        most: how many there can be.
        trouble: why there may be more of them; empty when these are all.
    """

    slices: tuple[SeenSlice, ...] = ()
    most: int = 0
    trouble: str = ""

    @property
    def hidden(self) -> str:
        """Why it is not known which MIG devices there are; empty when it is."""
        nameless = (each.problem for each in self.slices if each.uuid is None and each.problem != OLD_DRIVER)
        return self.trouble or next(nameless, "")


@dataclass(frozen=True, slots=True)
class Offered:
    """MIG devices that are offered, healthy or not, and why others are not, by GPU and device as `0:3`, or GPU."""

    samples: tuple[GpuSample, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


class SliceRecord:
    """The MIG devices of a node's GPUs from one sample to the next; sizes and names are always the newest.

    `held` gives the UUIDs of the GPUs that pods were given; None while that is not known.
    """

    def __init__(self, held: Callable[[], Collection[GpuUuid] | None] = lambda: None) -> None:
        self.held = held
        self._known: dict[GpuUuid, GpuSample] = {}

    @property
    def cards(self) -> frozenset[GpuUuid]:
        """The GPUs of which MIG devices are known."""
        return frozenset(sample.mig.parent for sample in self._known.values() if sample.mig is not None)

    def hit(self, place: XidPlace) -> list[GpuUuid]:
        """The MIG devices that an error may concern; may be asked from any thread."""
        return [uuid for uuid, sample in list(self._known.items()) if sample.mig and place.hits(uuid, sample.mig)]

    def take(self, card: SlicedGpu, listing: Listing) -> Offered:
        """The MIG devices of a GPU in MIG mode.

        One that was offered before and cannot be used is unhealthy, one that never was is left out. One that was
        destroyed is unhealthy while a pod has it, and is then forgotten.
        """
        samples: list[GpuSample] = []
        left_out: dict[str, str] = {}
        for seen in listing.slices:
            problem = seen.problem or _problem(seen, listing)
            known = None if seen.uuid is None else self._known.get(seen.uuid)
            if not problem and seen.uuid is not None:
                sample = self._known[seen.uuid] = _sample(seen, seen.uuid, card, listing.most)
                samples.append(sample)
            elif known is None:
                left_out[f"{card.index}:{seen.device}"] = problem
            elif seen.uuid not in {each.uuid for each in samples}:
                samples.append(replace(known, index=card.index, healthy=False, reason=problem))
        there = {each.uuid for each in samples}
        if listing.hidden:
            samples += self._unhealthy(card.uuid, f"NVML: {listing.hidden}", there)
            if listing.trouble and not samples:
                left_out[str(card.index)] = f"its MIG devices are not known: {listing.trouble}"
        else:
            samples += self._destroyed(card.uuid, there)
            if not listing.slices:
                left_out[str(card.index)] = NO_DEVICES
        return Offered(tuple(samples), left_out)

    def ended(self, card: GpuUuid) -> tuple[GpuSample, ...]:
        """What remains of the MIG devices of a GPU that is no longer in MIG mode."""
        return tuple(self._destroyed(card, frozenset()))

    def unreachable(self, card: GpuUuid, why: str) -> tuple[GpuSample, ...]:
        """The MIG devices of a GPU that cannot be asked."""
        return tuple(self._unhealthy(card, why, frozenset()))

    def _of(self, card: GpuUuid, but: Collection[GpuUuid]) -> list[GpuSample]:
        return [each for each in self._known.values() if each.mig and each.mig.parent == card and each.uuid not in but]

    def _unhealthy(self, card: GpuUuid, why: str, but: Collection[GpuUuid]) -> list[GpuSample]:
        return [replace(known, healthy=False, reason=why) for known in self._of(card, but)]

    def _destroyed(self, card: GpuUuid, but: Collection[GpuUuid]) -> list[GpuSample]:
        """Those that are not there any more, without those that nobody has."""
        gone = self._of(card, but)
        held = self.held() if gone else ()
        for known in gone:
            if held is not None and known.uuid not in held:
                del self._known[known.uuid]
        return [replace(each, healthy=False, reason=DESTROYED) for each in gone if each.uuid in self._known]


def _problem(seen: SeenSlice, listing: Listing) -> str:
    """Why a MIG device that answers cannot be offered."""
    if Counter(each.uuid for each in listing.slices)[seen.uuid] > 1:
        return TWICE
    if Counter(each.gi for each in listing.slices)[seen.gi] > 1:
        return SEVERAL
    if (seen.gi or 0) > LARGEST or (seen.ci or 0) > LARGEST:
        return f"the IDs of its instances cannot be right: {seen.gi} and {seen.ci}"
    is_whole = seen.compute_slices is not None and seen.compute_slices == seen.gpu_slices
    if not is_whole and (listing.trouble or any(each.gi is None for each in listing.slices)):
        return HIDDEN
    if seen.memory is None:
        return NO_SIZE
    if problem := odd_model(seen.model) or odd_memory(seen.memory):
        return problem
    slices = _slices(seen)
    return "" if 1 <= slices <= listing.most else f"its size cannot be right: {slices} slices of {listing.most}"


def _slices(seen: SeenSlice) -> int:
    """Slices of its GPU instance; from its name where the driver does not say them, else 0."""
    if seen.gpu_slices is not None:
        return seen.gpu_slices
    profile = parse_profile(profile_in(seen.model))
    return 0 if profile is None else profile.gpu_slices


def _sample(seen: SeenSlice, uuid: GpuUuid, card: SlicedGpu, most: int) -> GpuSample:
    if seen.memory is None or seen.gi is None or seen.ci is None:
        raise ValueError(f"MIG device {uuid}: expected one with a size and IDs")
    slices = _slices(seen)
    mig = MigDevice(
        parent=card.uuid,
        device=seen.device,
        gi=seen.gi,
        ci=seen.ci,
        profile=profile_in(seen.model) or f"{slices}g",
        slices=slices,
        of=most,
    )
    return GpuSample(
        uuid=uuid,
        index=card.index,
        model=seen.model,
        memory_mib=seen.memory.usable // _MIB,
        numa_node=card.numa_node,
        mig=mig,
    )
