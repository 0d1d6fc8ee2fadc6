"""What every stage of the day gets: the plan, the GPU, and how much time is left."""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from device_plugin.gpus.readings import GpuReading
from extender.contract.units import GpuUuid


class SkipError(Exception):
    """A stage cannot say anything on this machine; the message says why."""


class DayGpu(Protocol):
    """The one GPU of the day, or what stands for it in a dry run."""

    @property
    def uuid(self) -> GpuUuid:
        """Its UUID."""
        ...

    def reading(self) -> GpuReading:
        """What the driver measures of it now.

        Raises:
            SkipError: the driver no longer shows it.
        """
        ...

    def environment(self) -> Mapping[str, str]:
        """The variables with which a child process uses this GPU and no other."""
        ...


@dataclass(frozen=True, slots=True)
class DayPlan:
    """How the day is run.

    Args:
        dry_run: stand-ins take the place of the GPU, CUDA and MPS; the figures then say nothing about a GPU.
        run_s: how long each measured run of the servers lasts.
        counts: how many servers share the GPU in turn, rising from 1.
        with_fault: also let processes crash on the GPU, which may harm everybody else on it.
    """

    dry_run: bool = False
    run_s: float = 6.0
    counts: tuple[int, ...] = (1, 2, 4, 8)
    with_fault: bool = False

    def __post_init__(self) -> None:
        if self.run_s <= 0:
            raise ValueError(f"runs of {self.run_s} s: expected more than 0")
        if not self.counts or self.counts[0] != 1 or list(self.counts) != sorted(set(self.counts)):
            raise ValueError(f"counts of servers {self.counts}: expected rising numbers from 1")


@dataclass(frozen=True, slots=True)
class Timer:
    """When a stage must have ended, on a monotonic clock."""

    end_s: float
    clock_s: Callable[[], float] = field(default=time.monotonic, compare=False)

    @property
    def left_s(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self.end_s - self.clock_s())

    def at_most(self, seconds: float) -> float:
        """So many seconds, or what is left if that is less; a tenth of a second at least, so that a wait is one."""
        return max(0.1, min(seconds, self.left_s))

    def part(self, share: float) -> "Timer":
        """A timer for a share of what is left."""
        return replace(self, end_s=self.clock_s() + share * self.left_s)


@dataclass(frozen=True, slots=True)
class Day:
    """One day with a GPU, as a stage sees it."""

    plan: DayPlan
    gpu: DayGpu
    timer: Timer


@dataclass(frozen=True, slots=True)
class DayStage:
    """One part of the day.

    Args:
        name: as the command line has it.
        limit_s: seconds that it may take.
        least_s: seconds without which it is not worth a start.
        run: yields what was found so far, each time as a whole; the last one counts.
    """

    name: str
    limit_s: float
    least_s: float
    run: Callable[[Day], Generator[object, None, None]]
