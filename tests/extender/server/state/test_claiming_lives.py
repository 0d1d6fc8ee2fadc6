"""Random lives of a cluster full of pods of several priorities: claims come and go, and no GPU is overcommitted.

A life plays kube-scheduler (filter, preempt, nominate, delete, bind), kubelets that take their time to end pods, and
restarts of the extender. Lives are drawn from a seed, as in test_state_lives.py.
"""

from collections import Counter
from random import Random

import pytest

from extender.scheduling.ledger.events import PodDeleted, PodsListed
from extender.scheduling.nodes.node import GpuInfo, Hold, NodeInfo
from extender.scheduling.preempting.victims import Victims
from extender.server.state.claiming import CLAIM_S
from extender.server.state.outcomes import Assumed, Passed, Rejected, VictimsTerminating
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, node, pod

NODES = {"a": (16, 8), "b": (8, 8)}
PRIORITIES = [0, 0, 10, 100]
MOST = 16
STEPS = 400


class Life:
    """One cluster; every method named in `ACTIONS` is something that may happen to it."""

    ACTIONS = (
        "create",
        "create",
        "attempt",
        "attempt",
        "attempt",
        "attempt",
        "end",
        "end",
        "unnominate",
        "restart",
        "wait",
    )

    def __init__(self, seed: int) -> None:
        self.draws = Random(seed)
        self.cluster = self.started()
        self.pods: dict[str, Json] = {}
        self.births = 0
        self.version = 10
        self.happened: Counter[str] = Counter()
        self.named: dict[str, set[str]] = {}

    def started(self) -> Cluster:
        """An extender that has read the nodes."""
        return Cluster(*(node(name, *sizes) for name, sizes in NODES.items()))

    def write(self, name: str) -> None:
        """The API server accepts what was changed in a pod, and the watch shows it."""
        self.version += 1
        self.pods[name]["metadata"]["resourceVersion"] = str(self.version)
        self.cluster.show(self.pods[name])

    def gone(self, name: str) -> None:
        """The pod is no more."""
        self.version += 1
        del self.pods[name]
        self.cluster.state.apply(PodDeleted(f"uid-{name}", self.version))

    def pending(self) -> list[str]:
        """Pods without a node."""
        return [name for name, body in self.pods.items() if not body["spec"].get("nodeName")]

    def create(self) -> None:
        """A user creates a pod."""
        if len(self.pods) < MOST:
            self.births += 1
            name = f"p{self.births}"
            size, priority = self.draws.choice([2, 4, 6, 8, 12, 16]), self.draws.choice(PRIORITIES)
            self.pods[name] = pod(name, size, priority=priority)
            self.write(name)

    def attempt(self) -> None:
        """kube-scheduler tries a pod: it is bound, or others are evicted for it, or it waits."""
        if not self.pending():
            return
        name = self.draws.choice(self.pending())
        record = self.cluster.record(self.pods[name])
        outcome = self.cluster.state.filter(record, list(NODES))
        self.happened[type(outcome).__name__] += 1
        if isinstance(outcome, VictimsTerminating):
            assert self.cluster.state.refuse(record, outcome).leaving == {record.nominated_node}
        if not isinstance(outcome, Passed):
            assert isinstance(outcome, Rejected | VictimsTerminating)
            self.preempt(name)
            return
        start = self.cluster.state.begin_bind(record.uid, outcome.names[0])
        assert isinstance(start, Assumed)
        body = self.pods[name]
        body["spec"]["nodeName"] = start.plan.node
        body["metadata"]["annotations"]["gpupack.io/allocation"] = start.plan.allocation.to_json()
        body["status"] = {"phase": "Running"}
        self.write(name)

    def preempt(self, name: str) -> None:
        """kube-scheduler offers some pods of lower priority on each node; it evicts those named on one node."""
        record = self.cluster.record(self.pods[name])
        offered: dict[str, Victims] = {}
        for at in NODES:
            lesser = [uid for uid, priority in self.on(at) if priority < record.priority]
            if lesser:
                offered[at] = Victims(tuple(self.draws.sample(lesser, 1)))
        answer = self.cluster.state.preempt(record, offered)
        self.named[name] = {uid for victims in answer.values() for uid in victims.uids} or self.named.get(name, set())
        if not answer or self.draws.random() < 0.2:
            return
        chosen = self.draws.choice(sorted(answer))
        self.happened["evicted"] += len(answer[chosen].uids)
        leaving = [other.removeprefix("uid-") for other in answer[chosen].uids]
        assert all(self.pods[other]["spec"]["priority"] < record.priority for other in leaving)
        if self.draws.random() < 0.5:
            self.nominate(name, chosen)
        for other in leaving:
            self.pods[other]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self.write(other)
        self.nominate(name, chosen)

    def nominate(self, name: str, at: str) -> None:
        """kube-scheduler says where the pod will go."""
        self.pods[name]["status"] = {"phase": "Pending", "nominatedNodeName": at}
        self.write(name)

    def on(self, at: str) -> list[tuple[str, int]]:
        """UIDs and priorities of the pods on a node."""
        bound = [body for body in self.pods.values() if body["spec"].get("nodeName") == at]
        return [(body["metadata"]["uid"], body["spec"]["priority"]) for body in bound]

    def end(self) -> None:
        """A kubelet has ended a pod that was deleted; or any pod goes."""
        leaving = [name for name, body in self.pods.items() if "deletionTimestamp" in body["metadata"]]
        names = leaving if leaving and self.draws.random() < 0.8 else list(self.pods)
        if names:
            self.gone(self.draws.choice(names))

    def unnominate(self) -> None:
        """kube-scheduler gives a nomination up."""
        for name in self.pending():
            if self.pods[name]["status"].get("nominatedNodeName") and self.draws.random() < 0.3:
                self.pods[name]["status"] = {"phase": "Pending"}
                self.write(name)

    def restart(self) -> None:
        """The extender begins anew, with what the API server tells."""
        if self.draws.random() < 0.3:
            self.cluster = self.started()
            records = tuple(self.cluster.record(body) for body in self.pods.values())
            self.cluster.state.apply(PodsListed(records, self.version))

    def wait(self) -> None:
        """Time passes, and somebody looks for pods to wake: each fits somewhere."""
        self.cluster.clock.advance(self.draws.choice([1.0, 1.0, 20.0, CLAIM_S / 2]))
        for woken in self.cluster.state.worth_waking(0.25, 4):
            self.happened["woken"] += 1
            if woken.name in self.pods:
                assert isinstance(
                    self.cluster.state.filter(self.cluster.record(self.pods[woken.name]), list(NODES)), Passed
                )
                self.cluster.clock.advance(31.0)  # it comes to nothing: the hold ends

    def check(self) -> None:
        """What pods have is within capacity; what is claimed on top overlaps with the claims' victims alone."""
        for place in self.cluster.state.snapshot().nodes.values():
            claims = [one for one in place.holders if one.hold is Hold.CLAIMED]
            for one in claims:
                body = self.pods[one.name]
                assert body["status"].get("nominatedNodeName") == place.name
                assert not body["spec"].get("nodeName")
            for gpu in place.gpus:
                assert gpu.used <= gpu.capacity
                assert gpu.taken <= gpu.capacity + self.leaving_on(place, gpu, [one.name for one in claims])
                self.happened["claimed"] += bool(gpu.claimed)
                self.happened["overlapping"] += gpu.taken > gpu.capacity

    def leaving_on(self, place: NodeInfo, gpu: GpuInfo, claimants: list[str]) -> int:
        """Units of a GPU that less important pods have which terminate, or were to be evicted for a claimant."""
        units = 0
        named = {uid for name in claimants for uid in self.named.get(name, ())}
        highest = max((self.pods[name]["spec"]["priority"] for name in claimants), default=0)
        for one in place.holders:
            record = self.cluster.state.pod(one.uid)
            if one.hold is Hold.BOUND and one.footprint is not None and record is not None:
                leaves = (record.terminating or one.uid in named) and record.priority < highest
                units += one.footprint.shares.get(gpu.uuid, 0) if leaves else 0
        return units


@pytest.mark.parametrize("seed", range(12))
def test_claims_never_overcommit_and_end_with_what_they_are_for(seed: int) -> None:
    """At every step; and once no pod is nominated, nothing is claimed."""
    life = Life(seed)
    for _ in range(STEPS):
        getattr(life, life.draws.choice(Life.ACTIONS))()
        life.check()
    for name in life.pending():
        life.gone(name)
    assert [gpu.claimed for place in life.cluster.state.snapshot().nodes.values() for gpu in place.gpus] == [0] * 4
    # A life without contention would prove nothing.
    wanted = ("Passed", "Rejected", "VictimsTerminating", "evicted", "claimed", "overlapping", "woken")
    assert min(life.happened[each] for each in wanted) >= 1, life.happened
