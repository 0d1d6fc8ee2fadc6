"""Describes what a doctor found and how bad it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is; only an error makes the doctor's exit code 1."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do about it, empty when nothing is to be done."""

    check: str
    level: Level
    found: str
    advice: str = ""

    def to_object(self) -> dict[str, str]:
        """For JSON."""
        return {"check": self.check, "level": self.level.value, "found": self.found, "advice": self.advice}


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level; OK of nothing."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
