"""A State with nodes in it, a clock that stands and a view that can be called bad: what the extender's tests act on."""

from collections.abc import Sequence
from datetime import UTC, datetime

from extender.contract.names import Names
from extender.decoding.decoder import Decoder
from extender.scheduling.avoiding import NodeFailure
from extender.scheduling.ledger.binding import Plan
from extender.scheduling.ledger.events import NodeChanged, NodeDeleted, PodChanged, PodDeleted, PodRecord
from extender.scheduling.nodes.node import NodeInfo
from extender.server.record.decisions import Decided, Decisions
from extender.server.state.outcomes import Assumed, BindStart, FilterOutcome, Passed
from extender.server.state.state import State
from tests.extender.objects import UNIT_MIB, Json, allocation, pod, raw
from tests.fakes.reflecting import StandingClock

HOLD_S = 30.0
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Cluster:
    """What the extender sees of a cluster; `problem` is what is wrong with that view, `told` are its decisions."""

    def __init__(
        self,
        *nodes: Json,
        answers: int = 1,
        keep: int = 1,
        policy: str = "binpack",
        names: Names | None = None,
        schedulers: Sequence[str] = (),
    ) -> None:
        self.names = names or Names()
        self.decoder = Decoder(self.names, UNIT_MIB)
        self.clock = StandingClock()
        self.problem: str | None = None
        self.told: list[Decided] = []
        self.failures: list[NodeFailure] = []
        self.decisions = Decisions(lambda: NOON, report=self.told.append)
        self.state = State(
            unit_mib=UNIT_MIB,
            policy=policy,
            answers=answers,
            keep=keep,
            hold_s=HOLD_S,
            clock=self.clock,
            view_problem=lambda: self.problem,
            decisions=self.decisions,
            report_failure=self.failures.append,
            schedulers=schedulers,
        )
        self.node_names: list[str] = []
        for node in nodes:
            self.add_node(node)

    def add_node(self, node: Json) -> None:
        """The watch shows a node."""
        self.state.apply(NodeChanged(self.decoder.node(raw(node))))
        if node["metadata"]["name"] not in self.node_names:
            self.node_names.append(node["metadata"]["name"])

    def drop_node(self, name: str, version: int = 1_000_000) -> None:
        """The watch shows that a node went."""
        self.state.apply(NodeDeleted(name, version))

    def record(self, body: Json) -> PodRecord:
        """A pod as the decoder reads it."""
        return self.decoder.pod(raw(body))

    def show(self, body: Json) -> None:
        """The watch shows a pod."""
        self.state.apply(PodChanged(self.record(body)))

    def show_bound(self, name: str, units: int, gpu: str, node: str, *, version: int = 5, priority: int = 0) -> None:
        """The watch shows a pod that holds `units` of one GPU."""
        plan = allocation({"main": {gpu: units}})
        self.show(pod(name, units, node=node, version=version, annotations={"allocation": plan}, priority=priority))

    def delete(self, name: str) -> None:
        """The watch shows that a pod made by `pod` went."""
        self.state.apply(PodDeleted(f"uid-{name}"))

    def filter(self, body: Json, *names: str) -> FilterOutcome:
        """Kube-scheduler asks about `names`, by default about all nodes."""
        return self.state.filter(self.record(body), names or self.node_names)

    def hold(self, body: Json, *names: str) -> Plan:
        """A filter call that passes: the plan that is held."""
        outcome = self.filter(body, *names)
        assert isinstance(outcome, Passed), outcome
        assert outcome.plan is not None
        return outcome.plan

    def bind(self, name: str, node: str) -> BindStart:
        """The first half of a bind of a pod made by `pod`."""
        return self.state.begin_bind(f"uid-{name}", node)

    def assume(self, name: str, node: str) -> Plan:
        """A bind that gets its GPUs."""
        start = self.bind(name, node)
        assert isinstance(start, Assumed), start
        return start.plan

    def node(self, name: str) -> NodeInfo:
        """A node as the state sees it now."""
        return self.state.snapshot().nodes[name]

    def free(self, name: str) -> Sequence[int]:
        """Free units of each GPU of a node."""
        return list(self.node(name).free)
