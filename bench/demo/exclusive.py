"""Works out what the demo's pods would do and cost on the same cluster with whole GPUs.

Each pod gets the cheapest idle GPUs of one node that it accepts and that are large enough; pods that find none wait,
and later ones that do go ahead. This favours whole GPUs: no other choice costs less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from bench.demo.workload import DemoPod
from bench.simulated.specs import MachineSpec
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, units_in
from extender.kubectl.cluster.prices import PriceTable
from extender.scheduling.pods.models import parse_models

NAMES = Names()


@dataclass(slots=True)
class Outcome:
    """Sums over the run: GPU time and dollars of GPUs in use, time of pods that ran, pods that ran, GPUs at most."""

    gpu_s: float = 0.0
    usd_s: float = 0.0
    pod_s: float = 0.0
    ran: int = 0
    peak_gpus: int = 0

    @property
    def usd_per_pod_hour(self) -> float:
        """Dollars for an hour of one running pod."""
        return self.usd_s / self.pod_s if self.pod_s else 0.0


@dataclass(slots=True)
class _Gpu:
    node: str
    model: str
    units: int
    usd_per_hour: float
    busy: bool = False


@dataclass(order=True, slots=True)
class _End:
    at_s: float
    gpus: list[_Gpu] = field(compare=False)


def on_whole_gpus(pods: Sequence[DemoPod], nodes: Sequence[MachineSpec], prices: PriceTable, seconds: float) -> Outcome:
    """Run the stream for `seconds` with one or more whole GPUs per pod."""
    gpus = [
        _Gpu(node.name, gpu.model, units_in(gpu.memory_mib, DEFAULT_UNIT_MIB), prices.usd_per_hour(gpu.model))
        for node in nodes
        for gpu in node.gpus
        for _ in range(gpu.count)
    ]
    outcome = Outcome()
    arrivals = sorted(pods, key=lambda pod: pod.arrives_s, reverse=True)
    waiting: list[DemoPod] = []
    ends: list[_End] = []
    while True:
        now_s = min(arrivals[-1].arrives_s if arrivals else seconds, ends[0].at_s if ends else seconds, seconds)
        if now_s >= seconds:
            return outcome
        while ends and ends[0].at_s <= now_s:
            for gpu in heappop(ends).gpus:
                gpu.busy = False
        while arrivals and arrivals[-1].arrives_s <= now_s:
            waiting.append(arrivals.pop())
        for pod in list(waiting):
            chosen = _cheapest(pod, gpus)
            if chosen:
                waiting.remove(pod)
                heappush(ends, _End(now_s + pod.runs_s, chosen))
                _account(outcome, chosen, min(seconds, now_s + pod.runs_s) - now_s)
        outcome.peak_gpus = max(outcome.peak_gpus, sum(gpu.busy for gpu in gpus))


def _cheapest(pod: DemoPod, gpus: Sequence[_Gpu]) -> list[_Gpu]:
    accepted = parse_models(pod.annotations.get(NAMES.model_annotation, "*"))
    units = pod.memory_units // pod.gpus if pod.memory_units else 0
    idle: dict[str, list[_Gpu]] = {}
    for gpu in gpus:
        if not gpu.busy and gpu.units >= units and accepted.match(gpu.model):
            idle.setdefault(gpu.node, []).append(gpu)
    groups = [sorted(group, key=lambda gpu: gpu.usd_per_hour)[: pod.gpus] for group in idle.values()]
    enough = [group for group in groups if len(group) == pod.gpus]
    chosen = min(enough, key=lambda group: sum(gpu.usd_per_hour for gpu in group), default=[])
    for gpu in chosen:
        gpu.busy = True
    return chosen


def _account(outcome: Outcome, gpus: Sequence[_Gpu], held_s: float) -> None:
    outcome.ran += 1
    outcome.pod_s += held_s
    outcome.gpu_s += held_s * len(gpus)
    outcome.usd_s += held_s * sum(gpu.usd_per_hour for gpu in gpus)
