"""Makes up a trace from a seed: machines of a few types, and pods as clusters that share GPUs see them.

It is no copy of any cluster. Many pods want about half a GPU or most of one, a few want several whole ones, some want
none; CPU goes with GPU but not strictly, so that both run short somewhere.
"""

from dataclasses import dataclass
from random import Random

from bench.trace.reading import WHOLE_MILLI, TraceNode, TracePod


@dataclass(frozen=True, slots=True)
class _Machine:
    model: str
    gpus: int
    cpu: int
    memory_gib: int
    weight: int


@dataclass(frozen=True, slots=True)
class _Kind:
    gpus: int
    gpu_milli: int
    cpus: tuple[int, ...]
    memory_gib_per_cpu: int
    weight: int
    mean_hours: float


_MACHINES = (
    _Machine("T4", 2, 64, 256, 5),
    _Machine("T4", 4, 48, 192, 2),
    _Machine("A10", 4, 96, 384, 3),
    _Machine("V100M32", 8, 96, 768, 4),
    _Machine("P100", 2, 16, 128, 2),
)

_KINDS = (
    _Kind(0, 0, (2, 4, 8, 16), 4, 10, 4.0),
    _Kind(1, 120, (1, 2, 4), 4, 6, 12.0),
    _Kind(1, 230, (2, 4), 4, 9, 24.0),
    _Kind(1, 340, (2, 4, 6), 4, 10, 8.0),
    _Kind(1, 470, (4, 8), 4, 14, 24.0),
    _Kind(1, 640, (4, 8, 12), 4, 8, 6.0),
    _Kind(1, 810, (8, 12), 4, 12, 48.0),
    _Kind(1, WHOLE_MILLI, (4, 8, 12, 16), 4, 26, 10.0),
    _Kind(2, WHOLE_MILLI, (16, 24), 4, 3, 12.0),
    _Kind(4, WHOLE_MILLI, (32, 48), 4, 1, 20.0),
    _Kind(8, WHOLE_MILLI, (64, 96), 4, 1, 30.0),
)

_DAYS = 7
_DAY_S = 86_400
_MODELS_PART = 0.05


def synthetic_nodes(count: int, random: Random) -> list[TraceNode]:
    """`count` nodes."""
    weights = [machine.weight for machine in _MACHINES]
    machines = random.choices(_MACHINES, weights, k=count)
    return [
        TraceNode(f"node-{at:04d}", machine.cpu * 1000, machine.memory_gib * 1024, machine.gpus, machine.model)
        for at, machine in enumerate(machines)
    ]


def synthetic_pods(count: int, random: Random) -> list[TracePod]:
    """`count` pods, in the order of their creation over a week; one in twenty requires a model."""
    kinds = random.choices(_KINDS, [kind.weight for kind in _KINDS], k=count)
    created = sorted(random.randrange(_DAYS * _DAY_S) for _ in range(count))
    return [_pod(at, kind, created_s, random) for at, (kind, created_s) in enumerate(zip(kinds, created, strict=True))]


def _pod(number: int, kind: _Kind, created_s: int, random: Random) -> TracePod:
    cpu = random.choice(kind.cpus)
    insists = 0 < kind.gpus <= 2 and random.random() < _MODELS_PART
    lasts_s = max(60, round(random.expovariate(1.0 / (kind.mean_hours * 3600))))
    return TracePod(
        name=f"pod-{number:05d}",
        cpu_milli=cpu * 1000,
        memory_mib=cpu * kind.memory_gib_per_cpu * 1024,
        gpus=kind.gpus,
        gpu_milli=kind.gpu_milli,
        models=(random.choice(("T4", "V100M32", "A10")),) if insists else (),
        qos="LS" if kind.mean_hours > 20 else "BE",
        created_s=created_s,
        deleted_s=created_s + lasts_s,
    )
