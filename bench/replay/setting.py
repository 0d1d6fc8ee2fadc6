"""Holds what all replays of one command share: nodes, pods, mapping and prices."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bench.replay.deciding.learning import Contender
from bench.replay.deciding.mapping import mapping_named, request_of
from bench.replay.deciding.run import Run
from bench.trace.reading import WHOLE_MILLI, TraceNode, TracePod
from extender.kubectl.cluster.prices import PriceTable
from extender.scheduling.learning.estimating import typical_pods
from extender.scheduling.learning.fragmentation import Fragmentation

Progress = Callable[[float], None]
"""Called now and then with the part of the replay that is done, 0 to 1."""

PROGRESS_PODS = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """A trace and how it is understood."""

    nodes: tuple[TraceNode, ...]
    pods: tuple[TracePod, ...]
    mapping: str
    prices: PriceTable

    @property
    def capacity_milli(self) -> int:
        """Thousandths of GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes) * WHOLE_MILLI

    def ordered_nodes(self, seed: int) -> list[TraceNode]:
        """The fixed random order of nodes for a seed, which breaks ties."""
        order = list(self.nodes)
        Random(seed).shuffle(order)
        return order

    def run(self, contender: Contender, seed: int, nodes: list[TraceNode] | None = None) -> Run:
        """An empty cluster of all nodes, or of these."""
        chosen = self.ordered_nodes(seed) if nodes is None else nodes
        return Run(contender, chosen, self.pods, mapping_named(self.mapping), seed)

    def fragmentation(self) -> Fragmentation:
        """FGD's measure for the typical pods of the whole list."""
        mapping = mapping_named(self.mapping)
        return Fragmentation(typical_pods(Counter(request_of(pod, mapping) for pod in self.pods)))


def percent(part: float, whole: float) -> float:
    """`part` in percent of `whole`, 0 of nothing."""
    return 100.0 * part / whole if whole else 0.0
