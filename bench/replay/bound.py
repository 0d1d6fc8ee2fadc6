"""Computes an upper bound on what any policy can allocate, even one that refuses pods, moves them or knows the future.

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
from itertools import accumulate

from scipy.optimize import linprog
from scipy.sparse import csc_array

from bench.replay.deciding.mapping import mapping_named, node_record, request_of
from bench.replay.protocols.arriving import Arriving
from bench.replay.results import ALLOCATION_MARKS, Result
from bench.replay.setting import Progress, Setting, percent
from extender.scheduling.learning.pricing import best_pattern
from extender.scheduling.learning.scarcity import hosts_request
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.request import PodRequest

BOUND = "lp-bound"
_GIB = 1 << 30
_EPSILON = 1e-6


Column = dict[int, float]
"""What one variable takes of each row's limit, by the row's number."""


class _Programme:
    """A linear programme whose columns come one by one: max gains z, columns z <= limits, z >= 0."""

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits = limits
        self._columns: list[Column] = []
        self._gains: list[float] = []

    def add(self, column: Column, gain: float) -> None:
        """Add a variable."""
        self._columns.append(column)
        self._gains.append(gain)

    def solve(self) -> tuple[float, list[float]]:
        """The optimum and the price of each row.

        Raises:
            ArithmeticError: HiGHS finds no optimum.
        """
        values = [value for column in self._columns for value in column.values()]
        rows = [row for column in self._columns for row in column]
        starts = list(accumulate(map(len, self._columns), initial=0))
        matrix = csc_array((values, rows, starts), shape=(len(self._limits), len(self._columns)))
        found = linprog([-gain for gain in self._gains], matrix, self._limits, method="highs")
        if not found.success:
            raise ArithmeticError(f"linear programme: {found.message}")
        return -float(found.fun), [-float(price) for price in found.ineqlin.marginals]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one shape in the programme: CPU, memory, GPUs, then one per size, from `first` on."""

    shape: NodeShape
    first: int

    @property
    def capacity(self) -> int:
        return self.shape.gpus[0][1]


class Bound:
    """The bound for one set of nodes with GPUs of one size per node.

    Args:
        records: the nodes.
        kinds: pods of each kind that have arrived, with the GPU demand of one of them.
    """

    def __init__(self, records: Sequence[NodeRecord], kinds: dict[PodRequest, tuple[int, int]]) -> None:
        self._kinds = {kind: known for kind, known in kinds.items() if kind.demands}
        self._sizes = sorted({demand.units for kind in self._kinds for demand in kind.demands if not demand.whole})
        counts = Counter(record.shape for record in records if record.shape.units)
        cpu, memory = Counter[NodeShape](), Counter[NodeShape]()
        for record in records:
            cpu[record.shape] += record.cpu_milli
            memory[record.shape] += record.memory_bytes
        limits = [float(pods) for pods, _ in self._kinds.values()]
        self._rows: list[_Rows] = []
        for shape, nodes in counts.items():
            self._rows.append(_Rows(shape, len(limits)))
            limits += [cpu[shape] / 1000, memory[shape] / _GIB, nodes * len(shape.gpus), *[0.0] * len(self._sizes)]
        self._programme = _Programme(limits)
        self._patterns: set[tuple[int, ...]] = set()
        self._add_pods()

    def milli(self) -> float:
        """Thousandths of GPUs that can be placed at most."""
        if not self._rows or not self._kinds:
            return 0.0
        for rows in self._rows:
            for size in self._sizes:
                if size <= rows.capacity:
                    self._add_pattern(rows, [rows.capacity // size if each == size else 0 for each in self._sizes])
        while True:
            value, prices = self._programme.solve()
            if not self._improve(prices):
                return value

    def _improve(self, prices: Sequence[float]) -> bool:
        found = False
        for rows in self._rows:
            worth = [max(0.0, price) for price in prices[rows.first + 3 : rows.first + 3 + len(self._sizes)]]
            pattern = best_pattern(self._sizes, worth, rows.capacity)
            value = sum(price * copies for price, copies in zip(worth, pattern, strict=True))
            if value > prices[rows.first + 2] + _EPSILON:
                found |= self._add_pattern(rows, pattern)
        return found

    def _add_pattern(self, rows: _Rows, pattern: Sequence[int]) -> bool:
        """False: the programme has it, and the solver's tolerance made it look better than it is."""
        key = (rows.first, *pattern)
        if key in self._patterns:
            return False
        self._patterns.add(key)
        sizes = {rows.first + 3 + at: -float(copies) for at, copies in enumerate(pattern) if copies}
        self._programme.add({rows.first + 2: 1.0, **sizes}, 0.0)
        return True

    def _add_pods(self) -> None:
        for rows in self._rows:
            for at, (kind, (_, gain)) in enumerate(self._kinds.items()):
                if not hosts_request(rows.shape, kind):
                    continue
                column: Column = {
                    at: 1.0,
                    rows.first: kind.cpu_milli / 1000,
                    rows.first + 1: kind.memory_bytes / _GIB,
                    rows.first + 2: float(kind.whole_gpus),
                }
                for demand in kind.demands:
                    if not demand.whole:
                        row = rows.first + 3 + self._sizes.index(demand.units)
                        column[row] = column.get(row, 0.0) + demand.gpus
                self._programme.add(column, float(gain))


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
