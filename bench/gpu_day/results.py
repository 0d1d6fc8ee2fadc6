"""Writes the day's one file anew after every step, and reads it back into the same types."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from bench.gpu_day.answers import DayAnswer
from bench.gpu_day.findings import Findings

VERSION = 1


class Status(StrEnum):
    """How a stage ended."""

    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How a stage ended, after how long, and why not well; what it found is among the findings."""

    status: Status
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class DayResult:
    """The whole file.

    Args:
        begun: UTC, RFC 3339.
        dry_run: on stand-ins; then no figure says anything about a GPU.
        budget_s: after so many seconds no stage was started.
        seconds: how long it took so far.
        stages: in the order in which they ran, the first one being how the GPU was opened.
        findings: the figures.
        answers: the findings in words.
    """

    begun: str
    dry_run: bool
    budget_s: float
    seconds: float = 0.0
    stages: Mapping[str, StageOutcome] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    answers: tuple[DayAnswer, ...] = ()
    version: int = VERSION


def write_result(result: DayResult, file: Path) -> None:
    """Replace the file as a whole, so that a reader never sees half of it.

    Raises:
        OSError: it cannot be written; it is then as before.
    """
    fresh = file.with_name(f"{file.name}.new")
    try:
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
        fresh.rename(file)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def read_result(file: Path) -> DayResult:
    """A file that was written.

    Raises:
        ValueError: it is not such a file, or of another version.
    """
    result = msgspec.json.decode(file.read_bytes(), type=DayResult)
    if result.version != VERSION:
        raise ValueError(f"{file}: version {result.version}, expected {VERSION}")
    return result
