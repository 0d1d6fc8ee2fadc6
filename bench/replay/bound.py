"""An upper bound on what any policy can allocate, even one that refuses pods, moves them or knows the future.

The relaxation: pods may be cut into parts, and the CPU and memory of all nodes of one shape are pooled. GPUs are not:
shares sit on a GPU in patterns that fit on it, as in the cutting-stock problem, so the bound counts what no packing
can avoid to waste. Maximal is the sum of GPU demand placed, over the parts y(k, s) of kind k on shape s and the
patterns x(P, s), subject to

    sum_s y(k, s) <= pods of kind k          sum_k cpu(k) y(k, s) <= CPU of s, memory alike
    sum_(k of size v) y(k, s) <= sum_P (copies of v in P) x(P, s)
    sum_P x(P, s) + sum_k (whole GPUs of k) y(k, s) <= GPUs of s

Patterns are generated as needed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.replay.deciding.mapping import mapping_named, node_record, request_of
from bench.replay.protocols.arriving import Arriving
from bench.replay.results import ALLOCATION_MARKS, Result
from bench.replay.setting import Progress, Setting, percent
from bench.replay.simplex import LinearProgramme, Vector
from extender.scheduling.learning.pricing import best_pattern
from extender.scheduling.learning.scarcity import hosts_request
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.request import PodRequest

BOUND = "lp-bound"
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class _Row:
    """Where the rows of one shape begin in the programme: CPU, memory, GPUs, then one per size."""

    shape: NodeShape
    nodes: int
    first: int


class Bound:
    """The bound for one set of nodes with GPUs of one size per node.

    Args:
        records: the nodes.
        kinds: pods of each kind that have arrived, with the GPU demand of one of them.
    """

    def __init__(self, records: Sequence[NodeRecord], kinds: dict[PodRequest, tuple[int, int]]) -> None:
        self._kinds = {kind: known for kind, known in kinds.items() if kind.demands}
        self._order = list(self._kinds)
        self._sizes = sorted({demand.units for kind in self._order for demand in kind.demands if not demand.whole})
        counts = Counter(record.shape for record in records if record.shape.units)
        width = 3 + len(self._sizes)
        self._rows = [
            _Row(shape, count, len(self._order) + width * at) for at, (shape, count) in enumerate(counts.items())
        ]
        limits = np.zeros(len(self._order) + width * len(self._rows))
        limits[: len(self._order)] = [pods for pods, _ in self._kinds.values()]
        cpu, memory = Counter[NodeShape](), Counter[NodeShape]()
        for record in records:
            cpu[record.shape] += record.cpu_milli
            memory[record.shape] += record.memory_bytes
        for row in self._rows:
            limits[row.first : row.first + 3] = (
                cpu[row.shape] / 1000,
                memory[row.shape] / _GIB,
                row.nodes * len(row.shape.gpus),
            )
        self._programme = LinearProgramme(limits)
        self._add_pods(len(limits))

    def milli(self) -> float:
        """Thousandths of GPUs that can be placed at most."""
        for row in self._rows:
            for size in self._sizes:
                capacity = row.shape.gpus[0][1]
                if size <= capacity:
                    self._add_pattern(row, [capacity // size if each == size else 0 for each in self._sizes])
        while True:
            value, prices = self._programme.solve()
            if not self._improve(prices):
                return value

    def _improve(self, prices: Vector) -> bool:
        found = False
        for row in self._rows:
            worth = [float(max(0.0, price)) for price in prices[row.first + 3 : row.first + 3 + len(self._sizes)]]
            pattern = best_pattern(self._sizes, worth, row.shape.gpus[0][1])
            value = sum(price * copies for price, copies in zip(worth, pattern, strict=True))
            if value > prices[row.first + 2] + 1e-6:
                self._add_pattern(row, pattern)
                found = True
        return found

    def _add_pattern(self, row: _Row, pattern: Sequence[int]) -> None:
        column = np.zeros((len(self._order) + len(self._rows) * (3 + len(self._sizes)), 1))
        column[row.first + 2, 0] = 1
        column[row.first + 3 : row.first + 3 + len(pattern), 0] = [-copies for copies in pattern]
        self._programme.add(column, np.zeros(1))

    def _add_pods(self, rows: int) -> None:
        columns: list[Vector] = []
        gains: list[float] = []
        for row in self._rows:
            for at, kind in enumerate(self._order):
                if not hosts_request(row.shape, kind):
                    continue
                column = np.zeros(rows)
                column[at] = 1
                column[row.first] = kind.cpu_milli / 1000
                column[row.first + 1] = kind.memory_bytes / _GIB
                column[row.first + 2] = kind.whole_gpus
                for demand in kind.demands:
                    if not demand.whole:
                        column[row.first + 3 + self._sizes.index(demand.units)] += demand.gpus
                columns.append(column)
                gains.append(self._kinds[kind][1])
        self._programme.add(np.array(columns).T, np.array(gains))


def replay_bound(setting: Setting, arriving: Arriving, seed: int, progress: Progress) -> Result:
    """The bound at each mark of the arrivals of one seed."""
    mapping = mapping_named(setting.mapping)
    records = [node_record(node, node.name, mapping) for node in setting.nodes]
    kinds: dict[PodRequest, tuple[int, int]] = {}
    ahead = list(ALLOCATION_MARKS)
    allocation: dict[int, float] = {}
    arrived = 0

    def pass_mark() -> None:
        allocation[ahead.pop(0)] = percent(Bound(records, kinds).milli(), setting.capacity_milli)
        progress(len(allocation) / len(ALLOCATION_MARKS))

    for pod in arriving.order(setting, seed):
        request = request_of(pod, mapping)
        kinds[request] = (kinds.get(request, (0, 0))[0] + 1, pod.demand_milli)
        arrived += pod.demand_milli
        while ahead and arrived >= ahead[0] / 100 * setting.capacity_milli:
            pass_mark()
    while ahead and arriving.inflate is not None and ahead[0] <= round(100 * arriving.inflate):
        pass_mark()
    placed = percent(Bound(records, kinds).milli(), arrived) if arrived else 100.0
    return Result(BOUND, seed, rejected_percent=100.0 - placed, allocation_percent=allocation)
