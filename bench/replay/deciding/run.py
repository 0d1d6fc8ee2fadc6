"""Places arriving pods with one policy, keeps the accounts, and checks that nothing is given out twice."""

from collections.abc import Sequence
from random import Random

from bench.replay.deciding.learning import Contender, Learner
from bench.replay.deciding.mapping import UNIT_MIB, UnitMapping, node_record, request_of
from bench.trace.reading import WHOLE_MILLI, TraceNode, TracePod
from extender.capacity.packing import Packing
from extender.scheduling.ledger.binding import Plan
from extender.scheduling.nodes.node import NodeInfo

_FULL_CHECK_PODS = 1000


class InvariantError(AssertionError):
    """The replay contradicts itself, so its figures are meaningless."""


class Run:
    """Places pods one at a time; each is tried once.

    Args:
        contender: the policy and how it learns.
        nodes: in the order that breaks ties.
        whole_list: the pods of the list, for policies that know it from the start.
        mapping: from the trace's thousandths to units.
        seed: of the ties that a random policy breaks.
    """

    def __init__(
        self,
        contender: Contender,
        nodes: Sequence[TraceNode],
        whole_list: Sequence[TracePod],
        mapping: UnitMapping,
        seed: int,
    ) -> None:
        self.contender = contender
        self._mapping = mapping
        width = len(str(len(nodes)))
        records = [node_record(node, f"node-{at:0{width}d}", mapping) for at, node in enumerate(nodes)]
        self._learner = Learner(contender, records, (request_of(pod, mapping) for pod in whole_list))
        draws = Random(seed) if contender.policy == "random" else None
        self.cluster = Packing(records, self._learner.policy, unit_mib=UNIT_MIB, draws=draws)
        self.capacity_milli = sum(node.gpus for node in nodes) * WHOLE_MILLI
        self.arrived_milli = self.placed_milli = self.rejected_milli = 0
        self.arrived_pods = self.rejected_pods = 0
        self._placed: dict[str, TracePod] = {}

    @property
    def adopted(self) -> int:
        """Policy values used so far."""
        return self._learner.adopted

    def arrive(self, uid: str, pod: TracePod) -> Plan | None:
        """Try to place the pod; None when it is rejected."""
        learned = self._learner.observe(request_of(pod, self._mapping))
        if learned is not None:
            self.cluster.adopt(learned)
        plan = self.cluster.place(uid, request_of(pod, self._mapping, exclusive=self.contender.exclusive))
        self.arrived_pods += 1
        self.arrived_milli += pod.demand_milli
        if plan is None:
            self.rejected_pods += 1
            self.rejected_milli += pod.demand_milli
        else:
            self.placed_milli += pod.demand_milli
            self._placed[uid] = pod
            self._check_node(plan.node)
        if self.arrived_pods % _FULL_CHECK_PODS == 0:
            self.check()
        return plan

    def leave(self, uid: str) -> None:
        """Remove a pod that was placed."""
        pod = self._placed.pop(uid)
        self.placed_milli -= pod.demand_milli
        node = self.cluster.ledger.pods[uid].node
        self.cluster.remove(uid)
        self._check_node(node)

    def check(self) -> None:
        """Check that each placed pod is charged once, on GPUs that hold it, and that the sums agree.

        Raises:
            InvariantError: anything does not hold.
        """
        charged: dict[str, str] = {}
        for node in self.cluster.nodes:
            self._check_info(node)
            for holder in node.holders:
                if holder.uid in charged:
                    raise InvariantError(f"pod {holder.uid} is on {charged[holder.uid]} and on {node.name}")
                charged[holder.uid] = node.name
        if charged.keys() != self._placed.keys():
            raise InvariantError(f"{len(charged)} pods are charged, {len(self._placed)} are placed")
        placed = sum(pod.demand_milli for pod in self._placed.values())
        if placed != self.placed_milli:
            raise InvariantError(f"{placed} thousandths are placed, {self.placed_milli} are counted")

    def _check_node(self, name: str) -> None:
        self._check_info(self.cluster.node(name))

    @staticmethod
    def _check_info(node: NodeInfo) -> None:
        record = node.record
        if node.cpu_used_milli > record.cpu_milli or node.memory_used_bytes > record.memory_bytes:
            raise InvariantError(f"{node.name}: more CPU or memory is asked for than it has")
        for gpu in node.gpus:
            if gpu.used > gpu.capacity:
                raise InvariantError(f"{node.name}: {gpu.used} units of {gpu.uuid} are given out of {gpu.capacity}")
