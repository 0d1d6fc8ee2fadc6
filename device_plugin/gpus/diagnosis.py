"""Judges a GPU's health by the driver's answers: what it says is wrong stays wrong until it says otherwise.

An answer that is not given is no good one. A question that fails makes the GPU unhealthy at once, for each of them
is answered by every GPU that works; probation keeps one that fails now and then from coming and going.
"""

from dataclasses import dataclass, field

from device_plugin.gpus.answers import MemorySize, Told
from device_plugin.gpus.plausible import odd_memory
from device_plugin.gpus.readings import RowRemaps
from extender.contract.units import GpuUuid

ROWS_FAILED = "row remapping failed: no spare memory is left, the GPU must be replaced"
NO_MEMORY = "NVML no longer says how much memory it has"


@dataclass(frozen=True, slots=True)
class Checkup:
    """What the driver answered about the health of one GPU at one moment.

    Args:
        memory: its size, which also shows that it is there.
        rows: rows of its memory that were replaced.
        needs_recovery: whether it must be reset, or the node rebooted.
    """

    memory: Told[MemorySize]
    rows: Told[RowRemaps] = field(default_factory=Told)
    needs_recovery: Told[bool] = field(default_factory=Told)

    @property
    def trouble(self) -> str:
        """The first failure; empty without one."""
        return next((each.trouble for each in (self.memory, self.rows, self.needs_recovery) if each.trouble), "")

    @property
    def is_lost(self) -> bool:
        """Whether the driver says that the GPU is gone."""
        return any(each.is_lost for each in (self.memory, self.rows, self.needs_recovery))


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """What is wrong with a GPU.

    Args:
        problem: why it must not be used, as far as its answers say; empty when nothing is wrong.
        needs_recovery: whether the driver asks for a reset or a reboot.
    """

    problem: str = ""
    needs_recovery: bool = False


class CaseHistory:
    """Remembers of every GPU what the driver last said of its health."""

    def __init__(self) -> None:
        self._rows: dict[GpuUuid, RowRemaps] = {}
        self._needs_recovery: dict[GpuUuid, bool] = {}

    def diagnose(self, uuid: GpuUuid, checkup: Checkup, *, is_size_told: bool = True) -> HealthFinding:
        """What is wrong with a GPU by its newest answers and the earlier ones.

        `is_size_told` is whether NVML is expected to tell its memory: not where a setting stands for it.
        """
        if checkup.rows.value is not None:
            self._rows[uuid] = checkup.rows.value
        if checkup.needs_recovery.value is not None:
            self._needs_recovery[uuid] = checkup.needs_recovery.value
        return HealthFinding(self._problem(uuid, checkup, is_size_told), self._needs_recovery.get(uuid, False))

    def _problem(self, uuid: GpuUuid, checkup: Checkup, is_size_told: bool) -> str:  # noqa: FBT001 - of one caller
        rows = self._rows.get(uuid)
        if rows is not None and rows.has_failed:
            return ROWS_FAILED
        if checkup.trouble:
            return f"NVML: {checkup.trouble}"
        if checkup.memory.value is None:
            return NO_MEMORY if is_size_told else ""
        return odd_memory(checkup.memory.value)
