"""Random lives of a cluster: whatever is filtered, bound, lost, deleted and told late, no GPU is given out twice.

A life plays the API server (the truth), a watch that lags and repeats itself, and kube-scheduler. Bindings are written
late, refused, or written with the answer lost; settling reads the truth as the extender's upkeep does. Lives are drawn
from a seed, not by hypothesis: contention takes long lives, of which that explores a hundredth in the same time.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from extender.scheduling.ledger.binding import Plan
from extender.scheduling.ledger.events import ClusterEvent, PodChanged, PodDeleted, PodRecord, PodsListed
from extender.scheduling.prioritizing import prioritize
from extender.server.state.outcomes import AlreadyBound, Assumed, Passed, Rejected
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import node, pod
from tests.extender.scheduling.naive_filter import filter_from_scratch

NODES = {"a": (16, 8), "b": (8,)}
CAPACITY = {f"GPU-{name}-{at}": units for name, sizes in NODES.items() for at, units in enumerate(sizes)}
MOST = 14
STEPS = 600


@dataclass(frozen=True)
class Truth:
    """One pod as the API server has it."""

    name: str
    units: int
    count: int
    version: int
    plan: Plan | None = None
    ended: bool = False


class Life:
    """One cluster; every method named in `ACTIONS` is something that may happen to it."""

    ACTIONS = (
        *("create", "end", "end", "filter", "filter", "filter", "bind", "bind", "answer", "answer"),
        *("settle", "settle", "watch", "watch", "repeat", "relist", "wait"),
    )

    def __init__(self, seed: int) -> None:
        self.draws = Random(seed)
        self.cluster = Cluster(*(node(name, *sizes) for name, sizes in NODES.items()))
        self.state = self.cluster.state
        self.version = 10
        self.births = 0
        self.pods: dict[str, Truth] = {}
        self.log: list[ClusterEvent] = []
        self.seen = 0
        self.in_flight: dict[str, Plan] = {}
        self.lost: set[str] = set()
        self.promised: dict[str, tuple[Plan, float]] = {}
        self.happened: Counter[str] = Counter()

    def some(self, names: Sequence[str]) -> list[str]:
        """A few of them, in any order."""
        return self.draws.sample(names, min(len(names), self.draws.randint(1, 4)))

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

    def write(self, name: str, **changes: Any) -> None:
        """A write that the API server accepts."""
        self.version += 1
        self.pods[name] = replace(self.pods[name], version=self.version, **changes)
        self.log.append(PodChanged(self.record(self.pods[name])))

    def create(self) -> None:
        """Users create pods."""
        for _ in range(self.draws.randint(1, 4)):
            if len(self.pods) < MOST:
                self.births += 1
                name = f"p{self.births}"
                units = self.draws.choice([1, 3, 4, 5, 8, 8, 16, 17])
                self.pods[name] = Truth(name, units, self.draws.choice([1, 1, 2]), 0)
                self.write(name)

    def end(self) -> None:
        """A pod is deleted, or its containers have all ended."""
        for name in self.some(sorted(self.pods)):
            if self.draws.random() < 0.5:
                del self.pods[name]
                self.version += 1
                self.log.append(PodDeleted(f"uid-{name}"))
            elif self.pods[name].plan is not None and not self.pods[name].ended:
                self.write(name, ended=True)

    def pending(self) -> list[str]:
        """Pods that kube-scheduler may filter or bind."""
        return [name for name, truth in self.pods.items() if truth.plan is None and name not in self.in_flight]

    def filter(self) -> None:
        """Kube-scheduler asks about all nodes for pods that it thinks are pending."""
        for name in self.some(self.pending()):
            self.promised.pop(name, None)
            outcome = self.state.filter(self.record(self.pods[name]), list(NODES))
            self.happened[type(outcome).__name__] += 1
            if isinstance(outcome, Passed):
                assert outcome.plan is not None
                held = self.state.reservation(f"uid-{name}")
                assert held is not None
                assert held.expires_s is not None
                self.promised[name] = (outcome.plan, held.expires_s)
                self.prioritize(name)
            elif isinstance(outcome, Rejected):
                assert set(outcome.reasons) == set(NODES)
            else:
                assert name in self.lost

    def prioritize(self, name: str) -> None:
        """The scores are those of costs computed from scratch, of the nodes where its fewest attempts failed."""
        record = self.record(self.pods[name])
        assert record.request is not None
        snapshot = self.state.snapshot_for(record.uid)
        found = filter_from_scratch(snapshot, list(NODES), record.request, self.state.policy_of(record.request))
        failures = {one.node: len(self.state.avoided(record).get(one.node, ())) for one in found.feasible}
        fewest = min(failures.values())
        costs = {one.node: one.fit.cost for one in found.feasible if failures[one.node] == fewest}
        assert self.state.prioritize(record, list(NODES)) == prioritize(costs, list(NODES))

    def bind(self) -> None:
        """Kube-scheduler binds pods that passed filter, to the node that filter named or sometimes to another one."""
        for name in self.some(sorted(self.promised)):
            plan, until = self.promised.pop(name)
            if name not in self.pending():
                continue
            target = self.draws.choice([plan.node, plan.node, plan.node, "b"])
            start = self.state.begin_bind(f"uid-{name}", target)
            self.happened[type(start).__name__] += 1
            if isinstance(start, Assumed):
                self.in_flight[name] = start.plan
                assert start.plan.node == target
            if plan.node == target and self.cluster.clock.now < until:
                assert isinstance(start, Assumed), start
                assert start.plan == plan
            assert not isinstance(start, AlreadyBound)

    def answer(self) -> None:
        """The API server answers Bindings, or its answers are lost."""
        for name in self.some(sorted(self.in_flight)):
            outcome = self.draws.choice(["written", "refused", "written and lost", "lost"])
            self.happened[outcome] += 1
            plan = self.in_flight.pop(name)
            if name in self.pods and outcome.startswith("written"):
                self.write(name, plan=plan)
            elif outcome in {"refused", "written"}:
                self.state.forget(f"uid-{name}")
            if outcome.endswith("lost"):
                self.lost.add(name)

    def settle(self) -> None:
        """Upkeep reads each pod whose bind is unsettled."""
        for reservation in self.state.unsettled(0.0):
            name, uid = reservation.holder.name, reservation.holder.uid
            if name in self.in_flight:
                continue
            self.lost.discard(name)
            if name not in self.pods:
                self.state.apply(PodDeleted(uid))
                continue
            self.state.apply(PodChanged(self.record(self.pods[name])))
            if self.pods[name].plan is None:
                self.state.forget(uid)

    def watch(self) -> None:
        """The watch catches up a little."""
        self.deliver(self.draws.randint(1, 6))

    def deliver(self, count: int) -> None:
        """The next events."""
        for event in self.log[self.seen : self.seen + count]:
            self.state.apply(event)
        self.seen = min(len(self.log), self.seen + count)

    def repeat(self) -> None:
        """Events come again, perhaps long after."""
        for event in self.draws.sample(self.log[: self.seen], min(self.seen, 8)):
            self.state.apply(event)

    def relist(self) -> None:
        """The watch broke; everything is listed anew."""
        if self.draws.random() < 0.2:
            self.state.apply(PodsListed(tuple(map(self.record, self.pods.values())), self.version))
            self.seen = len(self.log)

    def wait(self) -> None:
        """Time passes, and somebody looks for pods to wake."""
        self.cluster.clock.advance(self.draws.choice([1.0, 1.0, HOLD_S / 2, HOLD_S]))
        self.state.worth_waking(0.25, 2)

    def given(self) -> Counter[str]:
        """Units given out per GPU, by the truth."""
        units: Counter[str] = Counter()
        for truth in self.pods.values():
            if truth.plan is not None and not truth.ended:
                units.update({str(gpu): share for gpu, share in truth.plan.footprint.shares.items()})
        return units

    def charged(self) -> Counter[str]:
        """Units charged per GPU, by the state; zeros left out."""
        nodes = self.state.snapshot().nodes.values()
        return Counter({str(gpu.uuid): gpu.used for each in nodes for gpu in each.gpus if gpu.used})

    def check(self) -> None:
        """No GPU given out twice by the truth; usage is the sum of the holders, each charged once, within capacity."""
        assert all(units <= CAPACITY[gpu] for gpu, units in self.given().items())
        holders = [holder for each in self.state.snapshot().nodes.values() for holder in each.holders]
        assert len({holder.uid for holder in holders}) == len(holders)
        units: Counter[str] = Counter()
        for holder in holders:
            assert holder.footprint is not None
            units.update({str(gpu): share for gpu, share in holder.footprint.shares.items()})
        assert units == self.charged()
        assert all(units[gpu] <= CAPACITY[gpu] for gpu in units)

    def finish(self) -> None:
        """Everything is told and settled, and every hold is over."""
        for name in self.in_flight:
            self.state.forget(f"uid-{name}")
        self.in_flight.clear()
        self.deliver(len(self.log))
        self.settle()
        self.cluster.clock.advance(HOLD_S)


@pytest.mark.parametrize("seed", range(12))
def test_no_gpu_is_given_out_twice_and_every_promise_is_kept(seed: int) -> None:
    """At every step; and in the end the state knows the truth and nothing else."""
    life = Life(seed)
    for _ in range(STEPS):
        getattr(life, life.draws.choice(Life.ACTIONS))()
        life.check()
    life.finish()
    assert life.charged() == life.given()
    for name, truth in life.pods.items():
        if truth.plan is not None and not truth.ended:
            assert life.state.begin_bind(f"uid-{name}", "x") == AlreadyBound(truth.plan.node, has_gpus=True)
    # A life without contention would prove nothing.
    assert min(life.happened[each] for each in ("Passed", "Rejected", "Assumed", "written", "refused", "lost")) >= 1
