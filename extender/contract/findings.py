"""What a doctor knows of a cluster and says, as values: facts that were gathered, and findings made of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


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


@dataclass(frozen=True, slots=True)
class NodeObject:
    """A Node, as far as the doctor looks at it; amounts are its allocatable, None where it offers none."""

    name: str
    inventory: str | None = None
    cordon: str | None = None
    memory_units: int | None = None


@dataclass(frozen=True, slots=True)
class PodObject:
    """A Pod, as far as the doctor looks at it; `asks` is whether a container asks for GPUs by our names."""

    path: str
    node: str = ""
    asks: bool = False
    ended: bool = False
    allocation: str | None = None
    allocated: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the API server said; a problem is empty where it answered.

    Args:
        problem: why it cannot be asked at all.
        denied: rights that the plugin needs and the caller has not, as `verb resource`.
        rights_problem: why the rights are not known.
        schedulers: KubeSchedulerConfigurations by where they are.
        schedulers_problem: why none could be looked for.
        nodes: every Node.
        pods: every Pod that asks for GPUs or has one of our annotations.
    """

    problem: str = ""
    denied: tuple[str, ...] = ()
    rights_problem: str = ""
    schedulers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schedulers_problem: str = ""
    nodes: tuple[NodeObject, ...] = ()
    pods: tuple[PodObject, ...] = ()
