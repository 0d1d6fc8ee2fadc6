"""Holds what a pod asks for, and how it is to be migrated, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, UnitMib, check_unit_mib

GIB_MIB = 1024


class MigrateOptionsError(ValueError):
    """An option is invalid; the message names it, its value and what was expected."""


@dataclass(frozen=True, slots=True)
class MigrateOptions:
    """What the manifests cannot say themselves.

    Args:
        names: gpupack's names in the installation.
        unit_mib: its memory unit.
        gpushare_unit_mib: what 1 of gpushare's memory stands for, 1024 or 1.
        replica_memory_mib: memory that one replica of a GPU under time-slicing or MPS stands for; None: unknown.
        gpu_memory_mib: memory of one GPU, for percentages and fractions; None: unknown.
        whole_gpus: `nvidia.com/gpu` without more is a GPU for one container alone.
        kai: `gpu-memory` and `gpu-fraction` are KAI's, even where neither queue nor scheduler says so.
        scheduler_name: scheduler that migrated pods name; empty for the cluster's default.
        keep: names that stay as they are.
        drop: names without a counterpart in gpupack that may be removed.
    """

    names: Names = field(default_factory=Names)
    unit_mib: UnitMib = DEFAULT_UNIT_MIB
    gpushare_unit_mib: int = GIB_MIB
    replica_memory_mib: int | None = None
    gpu_memory_mib: int | None = None
    whole_gpus: bool = False
    kai: bool = False
    scheduler_name: str = ""
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_unit_mib(self.unit_mib)
        if self.gpushare_unit_mib not in {1, GIB_MIB}:
            raise MigrateOptionsError(f"gpushare_unit_mib is {self.gpushare_unit_mib}, expected 1 or {GIB_MIB}")
        for name in ("replica_memory_mib", "gpu_memory_mib"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise MigrateOptionsError(f"{name} is {value}, expected at least 1 MiB")
        both = self.keep & self.drop
        if both:
            raise MigrateOptionsError(f"{', '.join(sorted(both))}: both to keep and to drop, expected one of them")


@dataclass(frozen=True, slots=True)
class PeerContainer:
    """One container: `init` in initContainers, `sidecar` when it restarts always.

    `variables` are those that it sets itself, None where the value comes from elsewhere; `mentions` is its program.
    """

    name: str
    init: bool = False
    sidecar: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    mentions: str = ""

    def asks(self, resource: str) -> str | None:
        """The quantity that it asks for; None when it does not."""
        return self.limits.get(resource, self.requests.get(resource))


@dataclass(frozen=True, slots=True)
class PeerPod:
    """One pod, or the template of pods; `containers` begins with the init containers."""

    containers: tuple[PeerContainer, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    scheduler_name: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What changes in one mapping: `remove` these keys, then `put` these in the first one's place, or at the end.

    A whole number is written as one, text as text: an annotation of 2 has to be "2".
    """

    remove: tuple[str, ...] = ()
    put: Mapping[str, str | int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.remove or self.put)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A pod's changes; `limits` and `requests` by container name. A ResourceQuota has only `hard`.

    `summary` describes the changes for people, `notes` what stays.
    """

    limits: Mapping[str, Change] = field(default_factory=dict)
    requests: Mapping[str, Change] = field(default_factory=dict)
    annotations: Change = field(default_factory=Change)
    labels: Change = field(default_factory=Change)
    spec: Change = field(default_factory=Change)
    hard: Change = field(default_factory=Change)
    summary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undecided:
    """Why a pod stays as it is: each question with what would answer it."""

    questions: tuple[str, ...]
