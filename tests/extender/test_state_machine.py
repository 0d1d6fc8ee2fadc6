"""Random lives of a cluster: whatever is filtered, bound, lost, deleted and told late, no GPU is given out twice.

The machine plays the API server (the truth), a watch that lags and repeats itself, and kube-scheduler. Bindings are
written late, refused, or written with the answer lost; settling reads the truth as the extender's upkeep does.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from extender.outcomes import AlreadyBound, Assumed, Passed, Rejected
from extender.scheduling.binding import Plan
from extender.scheduling.events import ClusterEvent, PodChanged, PodDeleted, PodRecord, PodsListed
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import node, pod

NODES = {"a": (16, 16), "b": (8,)}
CAPACITY = {f"GPU-{name}-{at}": units for name, sizes in NODES.items() for at, units in enumerate(sizes)}
SLOTS = st.integers(0, 6)


@dataclass(frozen=True)
class Truth:
    """One pod as the API server has it."""

    name: str
    units: int
    count: int
    version: int
    plan: Plan | None = None
    ended: bool = False


class ClusterLife(RuleBasedStateMachine):
    """Seven names; a name that is taken again is another pod."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(*(node(name, *sizes) for name, sizes in NODES.items()))
        self.state = self.cluster.state
        self.version = 10
        self.births = 0
        self.slots: dict[int, Truth] = {}
        self.log: list[ClusterEvent] = []
        self.seen = 0
        self.in_flight: dict[str, Plan] = {}
        self.lost: set[str] = set()
        self.promised: dict[str, tuple[Plan, float]] = {}

    def record(self, truth: Truth) -> PodRecord:
        """The pod as the watch shows it."""
        annotations = {"gpu-count": str(truth.count)}
        if truth.plan is not None:
            annotations["allocation"] = truth.plan.allocation.to_json()
        body = pod(
            truth.name,
            truth.units * truth.count,
            version=truth.version,
            node=truth.plan.node if truth.plan else "",
            annotations=annotations,
            status={"phase": "Succeeded" if truth.ended else "Running"},
        )
        return self.cluster.record(body)

    def write(self, slot: int, **changes: Any) -> None:
        """A write that the API server accepts."""
        self.version += 1
        self.slots[slot] = replace(self.slots[slot], version=self.version, **changes)
        self.log.append(PodChanged(self.record(self.slots[slot])))

    @rule(slot=SLOTS, units=st.integers(1, 17), count=st.sampled_from([1, 1, 2]))
    def create(self, slot: int, units: int, count: int) -> None:
        """A user creates a pod."""
        if slot not in self.slots:
            self.births += 1
            self.slots[slot] = Truth(f"p{self.births}", units, count, 0)
            self.write(slot)

    @rule(slot=SLOTS, how=st.sampled_from(["delete", "end"]))
    def end(self, slot: int, how: str) -> None:
        """A pod is deleted, or its containers have all ended."""
        truth = self.slots.get(slot)
        if truth is None:
            return
        if how == "delete":
            del self.slots[slot]
            self.version += 1
            self.log.append(PodDeleted(f"uid-{truth.name}"))
        elif truth.plan is not None and not truth.ended:
            self.write(slot, ended=True)

    @rule(slot=SLOTS)
    def filter(self, slot: int) -> None:
        """Kube-scheduler asks about all nodes for a pod that it thinks is pending."""
        truth = self.slots.get(slot)
        if truth is None or truth.plan is not None or truth.name in self.in_flight:
            return
        self.promised.pop(truth.name, None)
        outcome = self.state.filter(self.record(truth), list(NODES))
        if isinstance(outcome, Passed):
            assert outcome.plan is not None
            self.promised[truth.name] = (outcome.plan, self.cluster.clock.now + HOLD_S)
        elif isinstance(outcome, Rejected):
            assert set(outcome.reasons) == set(NODES)
        else:
            assert truth.name in self.lost

    @rule(slot=SLOTS, other=st.booleans())
    def bind(self, slot: int, other: bool) -> None:  # noqa: FBT001 (hypothesis passes by name)
        """Kube-scheduler binds to the node that filter named, or to another one."""
        truth = self.slots.get(slot)
        if truth is None or truth.plan is not None or truth.name in self.in_flight:
            return
        plan, until = self.promised.pop(truth.name, (None, 0.0))
        target = plan.node if plan is not None and not other else "b"
        start = self.state.begin_bind(f"uid-{truth.name}", target)
        if isinstance(start, Assumed):
            self.in_flight[truth.name] = start.plan
            assert start.plan.node == target
        if plan is not None and plan.node == target and self.cluster.clock.now < until:
            assert isinstance(start, Assumed), start
            assert start.plan == plan
        assert not isinstance(start, AlreadyBound)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), outcome=st.sampled_from(["written", "refused", "written and lost", "lost"]))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        """The API server answers a Binding, or its answer is lost."""
        name = data.draw(st.sampled_from(sorted(self.in_flight)))
        plan = self.in_flight.pop(name)
        slot = next((at for at, truth in self.slots.items() if truth.name == name), None)
        if slot is not None and outcome.startswith("written"):
            self.write(slot, plan=plan)
        elif outcome == "refused" or (slot is None and outcome == "written"):
            self.state.forget(f"uid-{name}")
        if outcome.endswith("lost"):
            self.lost.add(name)

    @rule()
    def settle(self) -> None:
        """Upkeep reads each pod whose bind is unsettled."""
        truths = {f"uid-{truth.name}": truth for truth in self.slots.values()}
        for reservation in self.state.unsettled(0.0):
            uid = reservation.holder.uid
            name = reservation.holder.name
            if name in self.in_flight:
                continue
            self.lost.discard(name)
            if uid not in truths:
                self.state.apply(PodDeleted(uid))
                continue
            self.state.apply(PodChanged(self.record(truths[uid])))
            if truths[uid].plan is None:
                self.state.forget(uid)

    @rule(count=st.integers(1, 5))
    def watch(self, count: int) -> None:
        """The watch catches up a little."""
        for event in self.log[self.seen : self.seen + count]:
            self.state.apply(event)
        self.seen = min(len(self.log), self.seen + count)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """An event comes again, long after."""
        self.state.apply(self.log[data.draw(st.integers(0, self.seen - 1))])

    @rule()
    def relist(self) -> None:
        """The watch broke; everything is listed anew."""
        pods = tuple(self.record(truth) for truth in self.slots.values())
        self.state.apply(PodsListed(pods, self.version))
        self.seen = len(self.log)

    @rule(seconds=st.sampled_from([1.0, HOLD_S / 2, HOLD_S]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.cluster.clock.advance(seconds)

    @rule()
    def look(self) -> None:
        """Scrapes and wake-ups change nothing that counts."""
        self.state.counts()
        self.state.worth_waking(0.25, 2)

    def given(self) -> Counter[str]:
        """Units given out per GPU, by the truth."""
        units: Counter[str] = Counter()
        for truth in self.slots.values():
            if truth.plan is not None and not truth.ended:
                units.update({str(gpu): share for gpu, share in truth.plan.footprint.shares.items()})
        return units

    def charged(self) -> Counter[str]:
        """Units charged per GPU, by the state; zeros left out."""
        nodes = self.state.snapshot().nodes.values()
        return Counter({str(gpu.uuid): gpu.used for each in nodes for gpu in each.gpus if gpu.used})

    @invariant()
    def no_gpu_is_given_out_twice(self) -> None:
        """At no instant, by the truth."""
        assert all(units <= CAPACITY[gpu] for gpu, units in self.given().items())

    @invariant()
    def usage_is_the_sum_of_the_holders(self) -> None:
        """And never above the capacity; no pod is charged twice."""
        nodes = self.state.snapshot().nodes.values()
        holders = [holder for each in nodes for holder in each.holders]
        assert len({holder.uid for holder in holders}) == len(holders)
        units: Counter[str] = Counter()
        for holder in holders:
            assert holder.footprint is not None
            units.update({str(gpu): share for gpu, share in holder.footprint.shares.items()})
        assert units == self.charged()
        assert all(units[gpu] <= CAPACITY[gpu] for gpu in units)

    def teardown(self) -> None:
        """When all is told and settled and every hold is over, the state knows the truth and nothing else."""
        for name in list(self.in_flight):
            self.state.forget(f"uid-{name}")
        self.in_flight.clear()
        self.watch(len(self.log))
        self.settle()
        self.cluster.clock.advance(HOLD_S)
        assert self.charged() == self.given()
        for truth in self.slots.values():
            if truth.plan is not None and not truth.ended:
                start = self.state.begin_bind(f"uid-{truth.name}", truth.plan.node)
                assert start == AlreadyBound(truth.plan.node, has_gpus=True)


ClusterLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestClusterLife = ClusterLife.TestCase
