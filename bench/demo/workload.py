"""Draws the demo's pods from a seed: inference, notebooks, trials and training that arrive and leave."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.simulated.specs import GpuSpec, MachineSpec

_A100 = "NVIDIA A100-SXM4-40GB"
_MIG = ("3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb")

NODES = (
    MachineSpec("t4-a", (GpuSpec("Tesla T4", 15360, 4),), cpu=64, memory_gib=256),
    MachineSpec("t4-b", (GpuSpec("Tesla T4", 15360, 4),), cpu=64, memory_gib=256),
    MachineSpec("a10-a", (GpuSpec("NVIDIA A10", 23028, 4),), cpu=96, memory_gib=384),
    MachineSpec("a100-a", (GpuSpec(_A100, 40960, 6), GpuSpec(_A100, 40960, 2, mig=_MIG)), cpu=128, memory_gib=1024),
    MachineSpec("h100-a", (GpuSpec("NVIDIA H100 80GB HBM3", 81559, 4),), cpu=128, memory_gib=1024),
)


@dataclass(frozen=True, slots=True)
class DemoPod:
    """One pod of the stream.

    Args:
        name: its name.
        workload: its class.
        arrives_s: seconds after the start.
        runs_s: seconds that it runs once it is placed.
        memory_units: GPU memory in GiB; 0 for whole GPUs.
        gpus: whole GPUs, or over how many GPUs the memory is spread.
        annotations: gpupack annotations.
    """

    name: str
    workload: str
    arrives_s: float
    runs_s: float
    memory_units: int = 0
    gpus: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def limits(self) -> dict[str, int]:
        """The container's limits."""
        if self.memory_units:
            return {"gpupack.io/gpu-mem": self.memory_units}
        return {"gpupack.io/gpu": self.gpus}


def stream(seed: int, seconds: float) -> list[DemoPod]:
    """Pods that arrive within `seconds`, by arrival time; the same seed gives the same pods."""
    rng = random.Random(seed)
    pods: list[DemoPod] = []
    at_s = 0.0
    while True:
        at_s += rng.expovariate(160 / seconds if at_s < seconds * 0.6 else 60 / seconds)
        if at_s >= seconds:
            return pods
        pods.append(_draw(rng, len(pods), at_s, seconds))


def _draw(rng: random.Random, number: int, at_s: float, seconds: float) -> DemoPod:
    workload = rng.choices(("inference", "notebook", "trial", "training"), weights=(46, 22, 24, 8))[0]
    name = f"{workload}-{number}"
    match workload:
        case "inference":
            units = rng.choice((2, 3, 4, 6, 8, 10))
            return DemoPod(name, workload, at_s, rng.uniform(0.4, 0.9) * seconds, units)
        case "notebook":
            return DemoPod(name, workload, at_s, rng.uniform(0.2, 0.5) * seconds, rng.choice((4, 5, 8, 12)))
        case "trial":
            units = rng.choice((8, 10, 16, 20))
            model = {"gpupack.io/gpu-model": "A10*,A100*,H100*"} if units > 14 else {}
            return DemoPod(name, workload, at_s, rng.uniform(0.08, 0.2) * seconds, units, annotations=model)
        case _:
            if rng.random() < 0.5:
                model = {"gpupack.io/gpu-model": "A100*,H100*"}
                return DemoPod(name, workload, at_s, rng.uniform(0.2, 0.4) * seconds, gpus=1, annotations=model)
            spread = {"gpupack.io/gpu-count": "2"}
            return DemoPod(name, workload, at_s, rng.uniform(0.2, 0.4) * seconds, 40, 2, annotations=spread)
