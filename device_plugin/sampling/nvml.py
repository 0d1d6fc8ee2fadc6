"""Samples real GPUs through NVML; the pynvml binding is imported only here.

A GPU is known by its UUID, which is asked for at every sample: an index is another GPU's as soon as one is removed. One
that cannot be queried is unhealthy with the error as its reason, or left out if it never could be; an NVML that cannot
start is a `GpuSourceError`, after which sampling is tried again.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_plugin.gpus.answers import MemorySize
from device_plugin.gpus.diagnosis import CaseHistory, Checkup
from device_plugin.gpus.gpu import GpuSample, GpuSourceError
from device_plugin.gpus.mig.slices import SlicedGpu, SliceRecord
from device_plugin.gpus.readings import GpuReading
from device_plugin.gpus.xids import XidPlace, XidRecord
from device_plugin.sampling.mig import check_up_card, list_slices
from device_plugin.sampling.nvml_asking import (
    Description,
    SeenGpu,
    check_up,
    describe,
    gpu_count,
    identify,
    mig_mode,
    numa_node,
)
from device_plugin.sampling.nvml_session import NvmlSession, mib
from device_plugin.sampling.xids import XidListener
from device_plugin.settings import GivenMemory
from extender.contract.mig import MigDevice, card_of
from extender.contract.units import GpuUuid

_LOG = logging.getLogger(__name__)

_SYSFS_PCI = Path("/sys/bus/pci/devices")
NO_SIZE = "NVML does not say how much memory it has; where it shares the machine's, say so with --gpu-memory-mib"
NO_GPU = (
    "NVML shows no GPU: does this container have the device files /dev/nvidia*, and is the driver bound to the GPUs?"
)
_MIG = "MIG is enabled on it, and MIG devices are not shared further"
HELD = "MIG was enabled on it, and pods have it as a whole GPU"
CARD_HELD = "pods have its GPU as a whole"


def load_pynvml() -> Any:
    """The pynvml module, imported only for real GPUs."""
    import pynvml  # noqa: PLC0415 - see above

    return pynvml


class NvmlSource:
    """A `GpuSource` over NVML.

    Args:
        load: imports the pynvml module.
        clock_s: monotonic seconds.
        sysfs_pci: where the kernel shows PCI devices and their NUMA nodes.
        ignored_xids: XIDs that do not make a GPU unhealthy, in addition to those of applications.
        on_xid: called after an XID that makes a GPU unhealthy.
        given_memory: memory of GPUs of which NVML gives no size.
        with_slices: whether the MIG devices of GPUs in MIG mode are offered.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Any] = load_pynvml,
        clock_s: Callable[[], float] = time.monotonic,
        sysfs_pci: Path = _SYSFS_PCI,
        ignored_xids: frozenset[int] = frozenset(),
        on_xid: Callable[[], None] = lambda: None,
        given_memory: GivenMemory | None = None,
        with_slices: bool = False,
    ) -> None:
        self._session = NvmlSession(load)
        self._clock_s = clock_s
        self._sysfs_pci = sysfs_pci
        self._ever: dict[GpuUuid, GpuSample] = {}
        self._described: set[GpuUuid] = set()
        self._is_mig: dict[GpuUuid, bool] = {}
        self._history = CaseHistory()
        self._lost: set[GpuUuid] = set()
        self._silent: Mapping[GpuUuid, str] = {}
        self._has_nameless = False
        self._with_slices = with_slices
        self._numa_nodes: dict[GpuUuid, int | None] = {}
        self._refusals: dict[str, str] = {}
        self._shows_none = False
        self._sizes: dict[GpuUuid, MemorySize] = {}
        self.memory_in_use: tuple[GpuReading, ...] = ()
        """What the newest sample saw in use on the GPUs and MIG devices that answered; by whom it does not say."""
        self.slices = SliceRecord()
        self.left_out: Mapping[str, str] = {}
        """Why GPUs are not offered at all, by NVML index, with the number of the MIG device as `0:3`."""
        self._given = given_memory or GivenMemory()
        self._without_size: set[GpuUuid] = set()
        self._lock = threading.Lock()
        """Held for the XIDs: the listener's thread notes them, while others read."""
        self._xids = XidRecord(ignored_xids)
        self._xid_counts: Counter[tuple[GpuUuid | None, int]] = Counter()
        self._critical: Counter[GpuUuid | None] = Counter()
        self._since: dict[GpuUuid, float] = {}
        self._looked_s = -math.inf
        self._on_xid = on_xid
        self._listener = XidListener(load, self._take, clock_s)

    @property
    def xid_counts(self) -> Mapping[tuple[GpuUuid | None, int], int]:
        """How often each XID was seen on each GPU; the GPU is None when the driver did not say which."""
        with self._lock:
            return dict(self._xid_counts)

    @property
    def critical_xids(self) -> Mapping[GpuUuid | None, int]:
        """How many XIDs made each GPU unhealthy; None for those that made all of them so."""
        with self._lock:
            return dict(self._critical)

    @property
    def unwatched(self) -> Mapping[GpuUuid, str]:
        """Why the XIDs of GPUs are not seen, for those of which that is so."""
        return {**self._silent, **self._listener.unwatched()}

    @property
    def is_stuck(self) -> bool:
        """Whether the wait for XIDs does not return, so that NVML stays open."""
        return self._listener.is_stuck

    @property
    def has_lost(self) -> bool:
        """Whether a GPU, or every one, is lost, not shown, or cannot be identified: a new session may see it."""
        return bool(self._silent) or self._has_nameless or self._shows_none

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU that can be shared, and every such MIG device, in NVML's order.

        One that disappeared stays, unhealthy; MIG devices that were destroyed stay as long as pods have them.

        Raises:
            GpuSourceError: NVML cannot start, or cannot count its GPUs, or shows none.
        """
        began_s = self._clock_s()
        nvml, count = self._counted()
        self._refusals, self._sizes = {}, {}
        seen = [identify(nvml, index) for index in range(count)]
        times = Counter(each.uuid for each in seen)
        self._note_since(seen, began_s)
        samples = [
            sample for each in seen if each.uuid for sample in self._samples_of(nvml, each, each.uuid, times[each.uuid])
        ]
        found = _each_once(samples)
        missing = {uuid for uuid in self._ever if uuid not in found}
        missing_cards = self.slices.cards - times.keys()
        nameless = [each for each in seen if not each.uuid]
        self._has_nameless = bool(nameless)
        why = _why_missing(len(missing | missing_cards), nameless)
        if len(nameless) > len(missing | missing_cards):
            # Otherwise they are the missing ones.
            self._refusals.update({str(each.index): f"it cannot be identified: {each.problem}" for each in nameless})
        self._log_refusals(self.left_out)
        self.left_out = self._refusals
        self._follow_xids(found.values())
        sizes = self._sizes.items()
        self.memory_in_use = tuple(GpuReading(uuid, size.used, size.reserved or None) for uuid, size in sizes)
        gone = [replace(self._ever[uuid], healthy=False, reason=why) for uuid in missing]
        gone += [sample for card in missing_cards for sample in self.slices.unreachable(card, why)]
        return tuple(sorted([*found.values(), *gone], key=lambda sample: sample.rank))

    def close(self) -> None:
        """Stop listening for XIDs and let NVML go."""
        self._listener.stop()
        self._session.end()

    def _counted(self) -> tuple[Any, int]:
        """The binding, and how many GPUs NVML shows; a session that is new knows nothing of an earlier one."""
        is_new = not self._session.is_started
        nvml = self._session.start()
        try:
            count = gpu_count(nvml)
        except GpuSourceError:
            self._session.end()
            raise
        self._shows_none = not count
        if self._shows_none:
            self._session.end()
            raise GpuSourceError(NO_GPU)
        if is_new:
            self._described.clear()
            self._numa_nodes.clear()
            self._listener.renew()
            self._listener.start()
        return nvml, count

    def _samples_of(self, nvml: Any, seen: SeenGpu, uuid: GpuUuid, times: int) -> Iterable[GpuSample]:
        """A GPU as it is now, or its MIG devices; `times` is how many GPUs have its UUID.

        Why anything is not offered is in `left_out`.
        """
        if times > 1:
            return self._refused_with_slices(seen.index, uuid, f"more than one GPU has the UUID {uuid}")
        mode = mig_mode(nvml, seen.handle)
        if mode.value is not None:
            self._is_mig[uuid] = mode.value
        is_mig = self._is_mig.get(uuid, False)
        whole = self._held_whole(seen.index, uuid) if is_mig else ()
        if is_mig and not self._with_slices:
            if not whole:
                self._refusals[str(seen.index)] = _MIG
            return whole
        if mode.trouble:
            # It may be split into other MIG devices by now, or for the first time.
            self._note_lost(uuid, is_lost=mode.is_lost)
            return self._refused_with_slices(seen.index, uuid, f"NVML: {mode.trouble}")
        if is_mig:
            return (*whole, *self._slices_of(nvml, seen, uuid, problem=CARD_HELD if whole else ""))
        return (*self._whole(nvml, seen, uuid), *self.slices.ended(uuid))

    def _whole(self, nvml: Any, seen: SeenGpu, uuid: GpuUuid) -> Sequence[GpuSample]:
        if uuid not in self._described:
            problem = self._take_description(seen.index, uuid, describe(nvml, seen.handle, self._sysfs_pci))
            if problem:
                return self._refused(seen.index, uuid, problem)
        sample = self._ever[uuid] = replace(self._ever[uuid], index=seen.index)
        checkup = check_up(nvml, seen.handle)
        if checkup.memory.value is not None:
            self._sizes[uuid] = checkup.memory.value
        problem = self._problem(uuid, checkup)
        return (replace(sample, healthy=False, reason=problem) if problem else sample,)

    def _slices_of(self, nvml: Any, seen: SeenGpu, uuid: GpuUuid, problem: str) -> Iterable[GpuSample]:
        """The MIG devices of a GPU; what is wrong with the GPU is wrong with all of them, as is `problem`."""
        if uuid not in self._numa_nodes:
            self._numa_nodes[uuid] = numa_node(nvml, seen.handle, self._sysfs_pci)
        checkup = check_up_card(nvml, seen.handle)
        self._note_lost(uuid, is_lost=checkup.is_lost)
        finding = self._history.diagnose(uuid, checkup, is_size_told=False)
        listing = list_slices(nvml, seen.handle)
        self._sizes.update({each.uuid: each.memory for each in listing.slices if each.uuid and each.memory})
        offered = self.slices.take(SlicedGpu(uuid, seen.index, self._numa_nodes[uuid]), listing)
        self._refusals.update(offered.left_out)
        for sample in offered.samples:
            xid = self._xid_of(uuid, needs_recovery=finding.needs_recovery, mig=sample.mig)
            why = sample.reason or finding.problem or xid or problem
            yield replace(sample, healthy=not why, reason=why)

    def _take_description(self, index: int, uuid: GpuUuid, description: Description) -> str:
        """Remember what a GPU is; returns why it cannot be offered."""
        if description.problem:
            return description.problem
        told = description.memory
        size_mib = self._given.mib_of(description.model) if told is None else mib(told.usable)
        if size_mib is None:
            return NO_SIZE
        (self._without_size.add if told is None else self._without_size.discard)(uuid)
        self._described.add(uuid)
        self._ever[uuid] = GpuSample(
            uuid=uuid,
            index=index,
            model=description.model,
            memory_mib=size_mib,
            numa_node=description.numa_node,
        )
        return ""

    def _refused(self, index: int, uuid: GpuUuid, why: str) -> Sequence[GpuSample]:
        """A GPU that was offered before, unhealthy; for one that never was, the reason in `left_out`."""
        known = self._ever.get(uuid)
        if known is None:
            self._refusals[str(index)] = why
            return ()
        return (replace(known, index=index, healthy=False, reason=why),)

    def _refused_with_slices(self, index: int, uuid: GpuUuid, why: str) -> Sequence[GpuSample]:
        """The same for a GPU of which it is not known whether it has MIG devices at the moment."""
        slices = self.slices.unreachable(uuid, why)
        return slices if slices and uuid not in self._ever else (*slices, *self._refused(index, uuid, why))

    def _held_whole(self, index: int, uuid: GpuUuid) -> Sequence[GpuSample]:
        """What remains of a GPU that is in MIG mode: it is unhealthy while a pod has it, and is then forgotten.

        Its MIG devices are not offered meanwhile: such a pod that starts to use it gets one of them.
        """
        self._described.discard(uuid)
        known = self._ever.get(uuid)
        held = () if known is None else self.slices.held()
        if known is not None and (held is None or uuid in held):
            return (replace(known, index=index, healthy=False, reason=HELD),)
        self._ever.pop(uuid, None)
        return ()

    def _problem(self, uuid: GpuUuid, checkup: Checkup) -> str:
        """Why a GPU must not be used; empty when it may."""
        self._note_lost(uuid, is_lost=checkup.is_lost)
        diagnosis = self._history.diagnose(uuid, checkup, is_size_told=uuid not in self._without_size)
        return diagnosis.problem or self._xid_of(uuid, needs_recovery=diagnosis.needs_recovery)

    def _note_since(self, seen: Sequence[SeenGpu], began_s: float) -> None:
        """Note since when each GPU may have been there: since the last look at which it was not, if there was one."""
        named = {each.uuid for each in seen if each.uuid}
        for uuid in named:
            self._since.setdefault(uuid, self._looked_s)
        # One that can't be identified may be new, unless it can be one that is away.
        if len(seen) - len(named) <= len(self._since.keys() - named):
            self._looked_s = began_s

    def _xid_of(self, uuid: GpuUuid, *, needs_recovery: bool, mig: MigDevice | None = None) -> str:
        with self._lock:
            return self._xids.problem(
                uuid, self._clock_s(), needs_recovery=needs_recovery, mig=mig, since_s=self._since[uuid]
            )

    def _note_lost(self, uuid: GpuUuid, *, is_lost: bool) -> None:
        if is_lost:
            self._lost.add(uuid)
        else:
            self._lost.discard(uuid)

    def _follow_xids(self, found: Iterable[GpuSample]) -> None:
        """XIDs are of whole GPUs, also where they name MIG devices."""
        answering = {card_of(sample.uuid, sample.mig) for sample in found} - self._lost
        self._listener.follow(answering)
        self._silent = dict.fromkeys((self._ever.keys() | self.slices.cards) - answering, "it does not answer")

    def _log_refusals(self, before: Mapping[str, str]) -> None:
        for place, reason in self._refusals.items():
            if before.get(place) != reason:
                what = "MIG device" if ":" in place else "GPU with index"
                _LOG.warning("%s %s is left out: %s", what, place, reason)

    def _take(self, place: XidPlace, xid: int) -> None:
        hit: list[GpuUuid | None] = [] if place.uuid is None else [*self.slices.hit(place)]
        with self._lock:
            for uuid in hit if place.gi is not None and hit else [place.uuid]:
                self._xid_counts[uuid, xid] += 1
            now_s = self._clock_s()
            was_out = self._xids.is_out(place, now_s)
            is_critical = self._xids.note(place, xid, now_s)
            if is_critical:
                for uuid in hit or [place.uuid]:
                    self._critical[uuid] += 1
        if not is_critical:
            _LOG.info("%s: XID %d, which is ignored", place, xid)
            return
        _LOG.error("%s: XID %d", place, xid)
        # One that repeats changes nothing that can't wait for the next sample.
        if not was_out:
            self._on_xid()


def _each_once(samples: Iterable[GpuSample]) -> dict[GpuUuid, GpuSample]:
    """The samples by UUID; one that several have names none of them."""
    found: dict[GpuUuid, GpuSample] = {}
    for sample in samples:
        twice = f"more than one GPU has the UUID {sample.uuid}"
        found[sample.uuid] = replace(sample, healthy=False, reason=twice) if sample.uuid in found else sample
    return found


def _why_missing(missing: int, nameless: Sequence[SeenGpu]) -> str:
    """Why GPUs that were there are not found; those that cannot be identified may be among them."""
    if missing == len(nameless) == 1:
        return f"NVML: {nameless[0].problem}"
    problems = "; ".join(f"index {each.index}: {each.problem}" for each in nameless)
    return f"NVML no longer shows it ({problems})" if problems else "NVML no longer shows it"
