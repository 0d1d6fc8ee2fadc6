"""Samples real GPUs through NVML; the pynvml binding is imported only here.

A GPU is known by its UUID, which is asked for at every sample: an index is another GPU's as soon as one is removed. One
that cannot be queried is unhealthy with the error as its reason, or left out if it never could be; an NVML that cannot
start is a `GpuSourceError`, after which sampling is tried again.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_plugin.gpus.diagnosis import CaseHistory, Checkup
from device_plugin.gpus.gpu import GpuSample, GpuSourceError
from device_plugin.gpus.xids import XidRecord
from device_plugin.sampling.nvml_asking import Description, SeenGpu, check_up, describe, gpu_count, identify, mig_mode
from device_plugin.sampling.nvml_session import NvmlSession, mib
from device_plugin.sampling.xids import XidListener
from device_plugin.settings import GivenMemory
from extender.contract.units import GpuUuid

_LOG = logging.getLogger(__name__)

_SYSFS_PCI = Path("/sys/bus/pci/devices")
NO_SIZE = "NVML does not say how much memory it has; where it shares the machine's, say so with --gpu-memory-mib"
_MIG = "MIG is enabled on it, and MIG devices are not shared further"


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
        self._refusals: dict[int, str] = {}
        self._left_out: Mapping[int, str] = {}
        self._given = given_memory or GivenMemory()
        self._without_size: set[GpuUuid] = set()
        self._xids = XidRecord(ignored_xids)
        self._xid_counts: Counter[tuple[GpuUuid | None, int]] = Counter()
        self._critical: Counter[GpuUuid | None] = Counter()
        self._on_xid = on_xid
        self._listener = XidListener(load, self._take, clock_s)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why GPUs are not offered at all, by NVML index."""
        return {str(index): why for index, why in self._left_out.items()}

    @property
    def xid_counts(self) -> Mapping[tuple[GpuUuid | None, int], int]:
        """How often each XID was seen on each GPU; the GPU is None when the driver did not say which."""
        return dict(self._xid_counts)

    @property
    def critical_xids(self) -> Mapping[GpuUuid | None, int]:
        """How many XIDs made each GPU unhealthy; None for those that made all of them so."""
        return dict(self._critical)

    @property
    def unwatched(self) -> Mapping[GpuUuid, str]:
        """Why the XIDs of GPUs are not seen, for those of which that is so."""
        return {**self._silent, **self._listener.unwatched()}

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU that can be shared, in NVML's order; MIG-enabled ones are left out.

        A GPU that disappeared stays, unhealthy.

        Raises:
            GpuSourceError: NVML cannot start, or cannot count its GPUs.
        """
        nvml, count = self._counted()
        self._refusals = {}
        seen = [identify(nvml, index) for index in range(count)]
        times = Counter(each.uuid for each in seen)
        samples = [self._sample_one(nvml, each, each.uuid, times[each.uuid]) for each in seen if each.uuid]
        found = {sample.uuid: sample for sample in samples if sample is not None}
        missing = [known for uuid, known in self._ever.items() if uuid not in found]
        nameless = [each for each in seen if not each.uuid]
        why = _why_missing(missing, nameless)
        if len(nameless) > len(missing):
            # Otherwise they are the missing ones.
            self._refusals.update({each.index: f"it cannot be identified: {each.problem}" for each in nameless})
        self._log_refusals(self._left_out)
        self._left_out = self._refusals
        self._listener.follow(found.keys() - self._lost)
        self._silent = dict.fromkeys(self._ever.keys() - (found.keys() - self._lost), "it does not answer")
        gone = [replace(known, healthy=False, reason=why) for known in missing]
        return tuple(sorted([*found.values(), *gone], key=lambda sample: sample.index))

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
        if is_new:
            self._described.clear()
            self._listener.renew()
            self._listener.start()
        return nvml, count

    def _sample_one(self, nvml: Any, seen: SeenGpu, uuid: GpuUuid, times: int) -> GpuSample | None:
        """A GPU as it is now, of whose UUID there are that many; None, and why in `left_out`, if it is not offered."""
        if times > 1:
            return self._refused(seen.index, uuid, f"more than one GPU has the UUID {uuid}")
        mode = mig_mode(nvml, seen.handle)
        if mode.value is not None:
            self._is_mig[uuid] = mode.value
        if self._is_mig.get(uuid, False):
            self._forget(uuid)
            self._refusals[seen.index] = _MIG
            return None
        if mode.trouble:
            # It may be split into MIG devices by now, and then nothing of it may be given out as a whole.
            self._note_lost(uuid, is_lost=mode.is_lost)
            return self._refused(seen.index, uuid, f"NVML: {mode.trouble}")
        if uuid not in self._described:
            problem = self._take_description(seen.index, uuid, describe(nvml, seen.handle, self._sysfs_pci))
            if problem:
                return self._refused(seen.index, uuid, problem)
        sample = self._ever[uuid] = replace(self._ever[uuid], index=seen.index)
        problem = self._problem(uuid, check_up(nvml, seen.handle))
        return replace(sample, healthy=False, reason=problem) if problem else sample

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

    def _refused(self, index: int, uuid: GpuUuid, why: str) -> GpuSample | None:
        """A GPU that was offered before, unhealthy; None, and the reason in `left_out`, for one that never was."""
        known = self._ever.get(uuid)
        if known is None:
            self._refusals[index] = why
            return None
        return replace(known, index=index, healthy=False, reason=why)

    def _forget(self, uuid: GpuUuid) -> None:
        self._ever.pop(uuid, None)
        self._described.discard(uuid)

    def _problem(self, uuid: GpuUuid, checkup: Checkup) -> str:
        """Why a GPU must not be used; empty when it may."""
        self._note_lost(uuid, is_lost=checkup.is_lost)
        diagnosis = self._history.diagnose(uuid, checkup, is_size_told=uuid not in self._without_size)
        xid = self._xids.problem(uuid, self._clock_s(), needs_recovery=diagnosis.needs_recovery)
        return diagnosis.problem or xid

    def _note_lost(self, uuid: GpuUuid, *, is_lost: bool) -> None:
        if is_lost:
            self._lost.add(uuid)
        else:
            self._lost.discard(uuid)

    def _log_refusals(self, before: Mapping[int, str]) -> None:
        for index, reason in self._refusals.items():
            if before.get(index) != reason:
                _LOG.warning("GPU with index %d is left out: %s", index, reason)

    def _take(self, uuid: GpuUuid | None, xid: int) -> None:
        self._xid_counts[uuid, xid] += 1
        if self._xids.note(uuid, xid, self._clock_s()):
            self._critical[uuid] += 1
            _LOG.error("GPU %s: XID %d", uuid or "(unknown)", xid)
            self._on_xid()
        else:
            _LOG.info("GPU %s: XID %d, which is ignored", uuid or "(unknown)", xid)


def _why_missing(missing: Sequence[GpuSample], nameless: Sequence[SeenGpu]) -> str:
    """Why GPUs that were there are not found; those that cannot be identified may be among them."""
    if len(missing) == len(nameless) == 1:
        return f"NVML: {nameless[0].problem}"
    problems = "; ".join(f"index {each.index}: {each.problem}" for each in nameless)
    return f"NVML no longer shows it ({problems})" if problems else "NVML no longer shows it"
