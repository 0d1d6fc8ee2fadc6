"""What may be believed of the GPUs of a driver, worked out anew: which must not be offered, and which must be."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.simulated.nvml.driver import SimulatedDriver
from bench.simulated.nvml.state import UNKNOWN_BYTES
from device_plugin.gpus.xids import APPLICATION_XIDS, QUIET_S
from extender.contract.units import GpuUuid
from tests.device_plugin.sampling.driver_states import CALLS, MIB, Node

NO_SUCH_QUESTION = {3, 13, 25, 26}
NO_ANSWER = NO_SUCH_QUESTION | {2, 4, 21, 22}
NO_DEVICE = {2, 6}
"""What a driver says of a number that no MIG device has."""

LARGEST_BYTES = 2 << 40
SLACK_MIB = 2048
"""What the driver may use for itself."""


@dataclass(slots=True)
class Belief:
    """Follows a node look by look.

    Args:
        may: the GPUs that may be offered.
        must: the GPUs about which nothing was ever wrong, which must be offered.
        is_blind: whether nothing can be known.
    """

    may: set[GpuUuid] = field(default_factory=set)
    must: set[GpuUuid] = field(default_factory=set)
    is_blind: bool = False
    _is_started: bool = False
    _stained: set[GpuUuid] = field(default_factory=set)
    _bad_rows: set[GpuUuid] = field(default_factory=set)
    _recovering: set[GpuUuid] = field(default_factory=set)
    _split: set[GpuUuid] = field(default_factory=set)
    _counted: Counter[tuple[GpuUuid | None, int]] = field(default_factory=Counter)
    _xids_s: dict[GpuUuid | None, float] = field(default_factory=dict)

    def follow(self, node: Node) -> None:
        """Take the state in which the node is looked at next."""
        state = node.driver.state
        self.is_blind = bool(not state.gpu_count or state.count_code or (state.init_code and not self._is_started))
        self._is_started = not self.is_blind
        self._take_xids(node)
        said = [_uuid(node.driver, index) for index in range(state.gpu_count)]
        times = Counter(said)
        self.may, well = set(), set()
        for index, uuid in enumerate(said):
            if uuid is None or times[uuid] > 1 or self.is_blind:
                continue
            is_good, is_all_told = self._judge(node.driver, index, uuid)
            if not self._is_quiet(uuid, node.clock.now_s):
                continue
            if is_good:
                self.may.add(uuid)
            if is_good and is_all_told:
                well.add(uuid)
            if self._may_have_slices(node.driver, index, uuid):
                self.may.update(_slices(node.driver, index, NO_ANSWER))
                if not any(code_of(node.driver, index, call) for call in ("MIG", "MAX_SLICES", "SLICE_HANDLE")):
                    well.update(_slices(node.driver, index, set()))
        parts = [part for gpu in node.driver.gpus for part in gpu.slices if part.present]
        known = {sample.uuid for sample in node.feed.gpus or ()} | {each for each in said if each}
        known |= {GpuUuid(part.uuid.decode()) for part in parts}
        self._stained |= known - well
        self.must = well - self._stained

    def _take_xids(self, node: Node) -> None:
        counts = Counter(node.source.xid_counts)
        for uuid, xid in counts - self._counted:
            if xid not in APPLICATION_XIDS:
                self._xids_s[uuid] = node.clock.now_s
        self._counted = counts

    def _is_quiet(self, uuid: GpuUuid, now_s: float) -> bool:
        return not any(now_s - self._xids_s[key] < QUIET_S for key in (uuid, None) if key in self._xids_s)

    def _may_have_slices(self, driver: SimulatedDriver, index: int, uuid: GpuUuid) -> bool:
        """Whether nothing that is known of a GPU in MIG mode keeps its MIG devices from being offered."""
        gpu, codes = driver.gpus[index], [code_of(driver, index, call) for call in ("ROWS", "FIELDS")]
        is_split = uuid in self._split and code_of(driver, index, "MIG") in {0, *NO_SUCH_QUESTION}
        is_bad = (codes[0] == 0 and gpu.rows[3] != 0) or (codes[1] == 0 and gpu.recovery_action != 0)
        return is_split and not is_bad and all(code in {0, *NO_ANSWER} for code in codes)

    def _judge(self, driver: SimulatedDriver, index: int, uuid: GpuUuid) -> tuple[bool, bool]:
        """Whether a GPU may be offered, and whether it also says all that is asked of one that is new."""
        gpu = driver.gpus[index]
        mode = code_of(driver, index, "MIG")
        if mode == 0 and gpu.mig >= 0:
            (self._split.add if gpu.mig else self._split.discard)(uuid)
        is_whole = uuid not in self._split and (mode in {0, *NO_SUCH_QUESTION})
        is_named = code_of(driver, index, "NAME") == 0 and gpu.name == b"NVIDIA A10"
        is_sized = _has_memory(driver, index)
        rows, recovery = code_of(driver, index, "ROWS"), code_of(driver, index, "FIELDS")
        is_asked = is_whole and is_named and is_sized
        if rows == 0:
            _note(self._bad_rows, uuid, is_asked=is_asked, is_bad=gpu.rows[3] != 0)
        if recovery == 0:
            _note(self._recovering, uuid, is_asked=is_asked and not _is_lost(rows), is_bad=gpu.recovery_action != 0)
        is_answering = all(code in {0, *NO_ANSWER} for code in (rows, recovery))
        is_bad = (rows == 0 and gpu.rows[3] != 0) or (recovery == 0 and gpu.recovery_action != 0)
        is_well = is_answering and not is_bad and uuid not in self._bad_rows | self._recovering
        return is_whole and is_sized and is_well, is_named


def code_of(driver: SimulatedDriver, index: int, call: str) -> int:
    """What a call on a GPU returns."""
    gpu = driver.gpus[index]
    return int(gpu.lost or gpu.codes[CALLS.index(call)])


def used_mib(driver: SimulatedDriver, index: int) -> int:
    """What the driver says is in use on a GPU, where it says so; by its sum or by its processes, whichever is more."""
    gpu, found = driver.gpus[index], [0]
    if code_of(driver, index, "MEMORY_V2") == 0:
        found.append(min(gpu.used_bytes, gpu.total_bytes))
    if code_of(driver, index, "COMPUTE_PROCESSES") == 0:
        sizes = [process.used_bytes for process in gpu.processes[: gpu.process_count]]
        found.append(sum(min(size, gpu.total_bytes) for size in sizes if size != UNKNOWN_BYTES))
    return max(found) // MIB


def _note(bad: set[GpuUuid], uuid: GpuUuid, *, is_asked: bool, is_bad: bool) -> None:
    """Remember an answer that was surely heard, and forget one that may have been taken back."""
    if not is_bad:
        bad.discard(uuid)
    elif is_asked:
        bad.add(uuid)


def _is_lost(code: int) -> bool:
    return code in {1, 15, 16, 28}


def _uuid(driver: SimulatedDriver, index: int) -> GpuUuid | None:
    """The UUID that a GPU says, if it is one."""
    told: Any = driver.gpus[index].uuid
    if code_of(driver, index, "HANDLE") or code_of(driver, index, "UUID"):
        return None
    return GpuUuid(told.decode()) if re.fullmatch(rb"GPU-[0-9a-z]{1,54}", told) else None


def _slices(driver: SimulatedDriver, index: int, silent: set[int]) -> set[GpuUuid]:
    """The MIG devices of a GPU that have memory of their own and answer all that is asked of them.

    To some questions the codes in `silent` are answers, too.
    """

    def code(part: Any, call: str) -> int:
        return int(driver.gpus[index].lost or part.lost or part.codes[CALLS.index(call)])

    parts = [each for each in driver.gpus[index].slices if each.present]
    found = [each for each in parts if code(each, "SLICE_HANDLE") not in NO_DEVICE]
    times = Counter(each.gpu_instance for each in found)
    needed = ("SLICE_HANDLE", "UUID", "NAME", "GPU_INSTANCE", "COMPUTE_INSTANCE")
    return {
        GpuUuid(each.uuid.decode())
        for each in found
        if times[each.gpu_instance] == 1
        and not any(code(each, call) for call in needed)
        and all(code(each, call) in {0, *silent} for call in ("ATTRIBUTES", "MEMORY_V2"))
    }


def _has_memory(driver: SimulatedDriver, index: int) -> bool:
    """Whether a GPU says how much memory it has, and that can be."""
    gpu, newer = driver.gpus[index], code_of(driver, index, "MEMORY_V2")
    if newer in NO_SUCH_QUESTION:
        return code_of(driver, index, "MEMORY") == 0 and 0 < gpu.total_bytes <= LARGEST_BYTES
    return newer == 0 and gpu.reserved_bytes < gpu.total_bytes and 0 < gpu.total_bytes <= LARGEST_BYTES
