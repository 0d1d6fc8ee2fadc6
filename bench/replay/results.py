"""Holds the results of replays, and averages them over seeds into the JSON that scripts read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

ALLOCATION_MARKS = (80, 90, 100, 110, 120, 130)
"""Percent of the capacity arrived at which the allocation is reported."""

USAGE_MARKS = (30, 60, 85, 100, 130)
"""The same for nodes and GPUs in use, dollars and fragmentation."""


@dataclass(frozen=True, slots=True)
class Result:
    """One policy, one seed.

    Args:
        policy: as it was asked for.
        seed: of the order of pods and nodes.
        rejected_percent: rejected part of the GPU demand.
        allocation_percent: allocated part of the capacity by the percent of it that had arrived; empty for protocols
            without such marks.
        first_failure_percent: percent arrived when the first pod was rejected; None when none was.
        usage: figures of `bench.replay.usage.Usage` by mark.
        counts: further figures by name.
        curve: (arrived, allocated) in percent of capacity.
        cpu_s: processor seconds that it took; not in the JSON, which is the same for the same seed.
    """

    policy: str
    seed: int
    rejected_percent: float
    allocation_percent: Mapping[int, float] = field(default_factory=dict)
    first_failure_percent: float | None = None
    usage: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[tuple[float, float]] = ()
    cpu_s: float = 0.0

    def to_json(self) -> Json:
        """All but the curve and the time."""
        return {
            "allocation_percent": {str(mark): value for mark, value in self.allocation_percent.items()},
            "first_failure_percent": self.first_failure_percent,
            "rejected_percent": self.rejected_percent,
            "usage": {str(mark): dict(figures) for mark, figures in self.usage.items()},
            "counts": dict(self.counts),
        }


def summary(results: Sequence[Result], *, trace: Json, command: str) -> Json:
    """Per policy the mean over seeds and each seed, in the order of the policies asked for."""
    policies: Json = {}
    for name in dict.fromkeys(result.policy for result in results):
        own = sorted((result for result in results if result.policy == name), key=lambda one: one.seed)
        seeds = [result.to_json() for result in own]
        policies[name] = {
            "mean": _rounded(_mean(seeds)),
            "seeds": {str(result.seed): _rounded(figures) for result, figures in zip(own, seeds, strict=True)},
        }
    return {"policies": policies, "trace": trace, "command": command}


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, field by field in nested objects; what a seed does not have is left out."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], dict):
        return {key: _mean([value.get(key) for value in known]) for key in _keys(known)}
    return sum(known) / len(known)


def _keys(objects: Iterable[Json]) -> list[str]:
    return list(dict.fromkeys(key for value in objects for key in value))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value
