"""Tells a ledger random histories of a cluster, by watch and by lists, late and twice, between binds, holds and claims.

Failures have to shrink in seconds: a change is seen at once unless it is drawn `late`, numbers come from small ranges,
and a history begins with nodes, so that a few steps are enough to show a fault.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from extender.contract.units import GpuUuid
from extender.scheduling.ledger.binding import Plan, plan_binding
from extender.scheduling.ledger.events import PodChanged, PodDeleted, PodRecord
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import Hold, Holder, NodeInfo, node_info
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from tests.extender.scheduling.builders import BINPACK, UNIT_MIB, gpu, on, pod, record, shares, wholes
from tests.extender.scheduling.naive_cluster import ApiServer, Claim, account, expected

NODES = st.sampled_from(["a", "b", "c"])
REQUESTS = st.sampled_from(
    [
        shares(2),
        shares(5),
        shares(3, 2),
        shares(4, count=2),
        wholes(1),
        shares(8),
        shares(1, core=60),
        shares(1, 2, core=40),
        shares(4, count=2, core=100),
    ]
)
FOOTPRINTS = st.one_of(
    st.none(),
    st.builds(lambda at, units: on({at: units}), st.integers(0, 2), st.integers(1, 9)),
    st.builds(lambda at, units: on({0: 1, at: units}), st.integers(1, 2), st.integers(1, 5)),
    st.builds(lambda at: on(whole=[at]), st.integers(0, 2)),
    st.builds(lambda at, percent: on({at: 1}, cores={at: percent}), st.integers(0, 2), st.sampled_from([40, 60])),
)
GPUS = st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.sampled_from([0, 500])), max_size=3)
LATE = st.booleans()
PICK = st.integers(0, 11)


class Listening(RuleBasedStateMachine):
    """A ledger that has seen everything up to version `seen`, and a list of version `listed` before."""

    def __init__(self) -> None:
        super().__init__()
        self.api = ApiServer()
        self.ledger = Ledger(UNIT_MIB)
        self.seen = 0
        self.listed = 0
        self.clock_s = 0.0
        self.created = 0
        for name, sizes in (("a", (8, 8)), ("b", (4, 9, 5))):
            self.api.put_node(record(name, [gpu(at, size) for at, size in enumerate(sizes)]))
        self.watch()

    def watch(self, *, late: bool = False) -> None:
        """All events so far arrive, unless they are late."""
        while self.seen < self.api.version and not late:
            self.seen += 1
            self.ledger.apply(self.api.events[self.seen])

    @precondition(lambda self: self.seen < self.api.version)
    @rule()
    def one_event(self) -> None:
        """The next of the late events arrives."""
        self.seen += 1
        self.ledger.apply(self.api.events[self.seen])

    @rule(pick=PICK)
    def relist(self, pick: int) -> None:
        """The watch breaks; lists of some version since the last ones arrive, in any order, even older than seen."""
        version = self.listed + pick % (self.api.version - self.listed + 1)
        lists = self.api.lists(version)
        for event in lists if pick % 2 else reversed(lists):
            self.ledger.apply(event)
        self.listed = version
        self.seen = max(self.seen, version)

    @precondition(lambda self: self.seen > self.listed)
    @rule(pick=PICK)
    def replay(self, pick: int) -> None:
        """Events that were seen since the last list arrive again, and change nothing."""
        generation = self.ledger.generation
        first = self.listed + 1 + pick % (self.seen - self.listed)
        for event in self.api.events[first : self.seen + 1]:
            assert self.ledger.apply(event) == ()
        for event in self.api.lists(self.seen):
            assert self.ledger.apply(event) == ()
        assert self.ledger.generation == generation

    @invariant()
    def rooms_are_never_negative(self) -> None:
        """On no GPU, whatever happened."""
        for node in self.ledger.snapshot().nodes.values():
            assert min(node.free, default=0) >= 0

    @invariant()
    def a_node_is_what_its_holders_make_it(self) -> None:
        """However it came about, it is as if it were computed now; and each holder is as sure as the ledger is."""
        reserved = {uid: one.holder.hold for uid, one in self.ledger.reservations()}
        for node in self.ledger.snapshot().nodes.values():
            made = node_info(node.record, node.holders, unit_mib=UNIT_MIB, generation=node.generation)
            assert made == node
            assert {one.uid: one.hold for one in node.holders} == {
                one.uid: reserved.get(one.uid, Hold.BOUND) for one in node.holders
            }


class AnyCluster(Listening):
    """Whatever an API server can show, and whatever a scheduler can reserve: the ledger equals the naive account."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: dict[str, tuple[Claim, float | None]] = {}

    @rule(name=NODES, gpus=GPUS, late=LATE)
    def node_changes(self, name: str, gpus: list[tuple[int, bool, int]], *, late: bool) -> None:
        """A node comes, or its GPUs change."""
        inventory = [gpu(at, size, healthy=well, outside_mib=mib) for at, (size, well, mib) in enumerate(gpus)]
        self.api.put_node(record(name, inventory))
        self.watch(late=late)

    @precondition(lambda self: self.api.now.nodes)
    @rule(pick=PICK, late=LATE)
    def node_beats(self, pick: int, *, late: bool) -> None:
        """A heartbeat."""
        nodes = self.api.now.nodes
        self.api.put_node(nodes[sorted(nodes)[pick % len(nodes)]])
        self.watch(late=late)

    @precondition(lambda self: self.api.now.nodes)
    @rule(pick=PICK, late=LATE)
    def node_goes(self, pick: int, *, late: bool) -> None:
        """Its pods stay in the API for a while."""
        nodes = sorted(self.api.now.nodes)
        self.api.delete_node(nodes[pick % len(nodes)])
        self.watch(late=late)

    @rule(request=REQUESTS, late=LATE)
    def pod_comes(self, request: PodRequest, *, late: bool) -> None:
        """Pending."""
        self.created += 1
        self.api.put_pod(pod(f"p{self.created}", request=request))
        self.watch(late=late)

    @rule(request=REQUESTS, node=NODES, footprint=FOOTPRINTS, late=LATE)
    def pod_comes_bound(self, request: PodRequest, node: str, footprint: Footprint | None, *, late: bool) -> None:
        """By hand, to a node that may not exist, with or without believable annotations."""
        self.created += 1
        self.api.put_pod(replace(pod(f"p{self.created}", node=node, request=request), footprint=footprint))
        self.watch(late=late)

    @precondition(lambda self: self.api.now.pods)
    @rule(pick=PICK, node=NODES, footprint=FOOTPRINTS, late=LATE)
    def pod_moves_on(self, pick: int, node: str, footprint: Footprint | None, *, late: bool) -> None:
        """A pending pod is bound, a bound one gets another footprint (the kubelet's word), and any may end."""
        pods = self.api.now.pods
        known = pods[sorted(pods)[pick % len(pods)]]
        if pick % 3 == 0:
            self.api.put_pod(replace(known, ended=True))
        else:
            self.api.put_pod(replace(known, node=known.node or node, footprint=footprint))
        self.watch(late=late)

    @precondition(lambda self: self.api.now.pods)
    @rule(pick=PICK, late=LATE)
    def pod_goes(self, pick: int, *, late: bool) -> None:
        """Deleted for good."""
        pods = sorted(self.api.now.pods)
        self.api.delete_pod(pods[pick % len(pods)])
        self.watch(late=late)

    @precondition(lambda self: self.pending())
    @rule(pick=PICK, node=NODES, footprint=FOOTPRINTS, lasts_s=st.one_of(st.none(), st.integers(1, 3)))
    def reserve(self, pick: int, node: str, footprint: Footprint | None, lasts_s: int | None) -> None:
        """Hold room for a pod, or assume that it is bound; a hold never replaces an assumption."""
        known = self.pending()[pick % len(self.pending())]
        holder = Holder(known.uid, known.namespace, known.name, known.request, footprint)
        expires_s = None if lasts_s is None else self.clock_s + lasts_s
        assumed = known.uid in self.reserved and self.reserved[known.uid][1] is None
        if expires_s is None:
            self.ledger.assume(node, holder, known.resource_version)
        else:
            self.ledger.hold(node, holder, known.resource_version, expires_s)
        if expires_s is None or not assumed:
            claim = Claim(known.uid, node, known.request, footprint)
            self.reserved[known.uid] = (claim, expires_s)

    @rule(back=st.integers(0, 6), bump=st.integers(0, 2), pods_first=st.booleans())
    def restored(self, back: int, bump: int, *, pods_first: bool) -> None:
        """The API server's storage is restored to what it was; all watches break, and the lists that follow show it.

        Without a bump the versions are lower than what was seen, and the lists say so: holds end then.
        """
        seen = self.seen
        self.api.restore(max(0, self.api.version - back), bump=bump)
        version = self.api.version
        rewound = version < seen
        lists = [replace(event, rewound=rewound) for event in self.api.lists(version)]
        for event in reversed(lists) if pods_first else lists:
            self.ledger.apply(event)
        self.listed = self.seen = version
        if rewound:
            self.reserved = {uid: (claim, ends) for uid, (claim, ends) in self.reserved.items() if ends is None}

    @precondition(lambda self: self.api.now.pods)
    @rule(pick=PICK)
    def pod_is_shown_again(self, pick: int) -> None:
        """A deletion that was not true is undone by what is newer, and by nothing older."""
        pods = self.api.now.pods
        known = pods[sorted(pods)[pick % len(pods)]]
        self.watch()
        self.reserved.pop(known.uid, None)
        self.ledger.apply(PodDeleted(known.uid, self.api.version))
        self.ledger.apply(PodChanged(known))
        assert self.ledger.is_gone(known.uid)
        self.api.put_pod(known)
        self.watch()
        assert not self.ledger.is_gone(known.uid)

    @precondition(lambda self: self.pending())
    @rule(pick=PICK, node=NODES, footprint=FOOTPRINTS, lasts_s=st.integers(1, 3))
    def claim(self, pick: int, node: str, footprint: Footprint | None, lasts_s: int) -> None:
        """Keep room that others may still hold; it never replaces an assumption or a hold."""
        known = self.pending()[pick % len(self.pending())]
        holder = Holder(known.uid, known.namespace, known.name, known.request, footprint)
        self.ledger.claim(node, holder, known.resource_version, self.clock_s + lasts_s)
        if known.uid not in self.reserved or self.reserved[known.uid][0].soft:
            claim = Claim(known.uid, node, known.request, footprint, soft=True)
            self.reserved[known.uid] = (claim, self.clock_s + lasts_s)

    @precondition(lambda self: self.reserved)
    @rule(pick=PICK)
    def give_back(self, pick: int) -> None:
        """Forget drops both kinds, release only holds."""
        uid = sorted(self.reserved)[pick % len(self.reserved)]
        if pick % 2:
            self.ledger.forget(uid)
            del self.reserved[uid]
        else:
            self.ledger.release(uid)
            if self.reserved[uid][1] is not None:
                del self.reserved[uid]

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        """Holds end, assumptions do not."""
        self.clock_s += seconds
        self.ledger.expire(self.clock_s)
        self.reserved = {
            uid: (claim, ends) for uid, (claim, ends) in self.reserved.items() if ends is None or ends > self.clock_s
        }

    def pending(self) -> list[PodRecord]:
        """Pods that the ledger has seen pending: what a scheduler can ask about."""
        view = self.api.views[self.seen]
        return [pod for pod in view.pods.values() if not pod.node and not pod.ended]

    @invariant()
    def the_ledger_equals_the_naive_account(self) -> None:
        """Conservation and replay in one: the account depends on what was seen last, not on how."""
        view = self.api.views[self.seen]
        self.reserved = {
            uid: kept
            for uid, kept in self.reserved.items()
            if uid in view.pods and not (view.pods[uid].node or view.pods[uid].ended)
        }
        claims = [claim for claim, _ in self.reserved.values()]
        assert account(self.ledger.snapshot()) == expected(view, claims)
        assert {uid for uid, _ in self.ledger.reservations()} == set(self.reserved)


class OwnBinds(Listening):
    """Pods are placed by plan and assume only; nodes stay as they are: no GPU is ever given out twice."""

    def __init__(self) -> None:
        super().__init__()
        self.flying: dict[str, Plan] = {}
        self.victims: dict[str, set[str]] = {}

    @rule(request=REQUESTS, late=LATE)
    def pod_comes(self, request: PodRequest, *, late: bool) -> None:
        """Pending."""
        self.created += 1
        self.api.put_pod(pod(f"p{self.created}", request=request))
        self.watch(late=late)

    @precondition(lambda self: self.idle())
    @rule(pick=PICK, name=st.sampled_from(["a", "b"]), held=st.booleans())
    def place(self, pick: int, name: str, *, held: bool) -> None:
        """Plan a seen pending pod on a node as the ledger shows it, and hold or assume it there."""
        known = self.idle()[pick % len(self.idle())]
        self.ledger.release(known.uid)
        assert known.request is not None
        plan = plan_binding(self.ledger.snapshot().nodes.get(name), known.request, BINPACK, unit_mib=UNIT_MIB)
        if isinstance(plan, Plan):
            holder = Holder(known.uid, known.namespace, known.name, known.request, plan.footprint)
            if held:
                self.ledger.hold(name, holder, known.resource_version, self.clock_s + 2, plan=plan)
            else:
                self.ledger.assume(name, holder, known.resource_version, plan=plan)
                self.flying[known.uid] = plan

    @precondition(lambda self: self.idle())
    @rule(pick=PICK, name=st.sampled_from(["a", "b"]), victims=st.sets(PICK, max_size=2))
    def evict_for(self, pick: int, name: str, victims: set[int]) -> None:
        """Claim what a seen pending pod could have on a node without some of the bound pods there."""
        known = self.idle()[pick % len(self.idle())]
        place = self.ledger.snapshot_without(known.uid).nodes[name]
        bound = [one.uid for one in place.holders if one.hold is Hold.BOUND]
        gone = {bound[at % len(bound)] for at in victims} if bound else set()
        left = [one for one in place.holders if one.uid not in gone]
        assert known.request is not None
        plan = plan_binding(node_info(place.record, left, unit_mib=UNIT_MIB), known.request, BINPACK, unit_mib=UNIT_MIB)
        held = self.ledger.reservation(known.uid)
        if isinstance(plan, Plan) and (held is None or held.claimed):
            holder = Holder(known.uid, known.namespace, known.name, known.request, plan.footprint)
            self.ledger.claim(name, holder, known.resource_version, self.clock_s + 3, plan=plan)
            self.victims[known.uid] = gone

    @precondition(lambda self: self.flying)
    @rule(pick=PICK, refuse=st.booleans(), late=LATE)
    def bind_ends(self, pick: int, *, refuse: bool, late: bool) -> None:
        """The API server has executed the Binding, or has refused it: then its room is given back."""
        uid = sorted(self.flying)[pick % len(self.flying)]
        plan = self.flying.pop(uid)
        known = self.api.now.pods.get(uid)
        if known is None or refuse:
            self.ledger.forget(uid)
        else:
            self.api.put_pod(replace(known, node=plan.node, footprint=plan.footprint))
            self.watch(late=late)

    @precondition(lambda self: self.api.now.pods)
    @rule(pick=PICK, ends=st.booleans(), late=LATE)
    def pod_ends(self, pick: int, *, ends: bool, late: bool) -> None:
        """Its containers end, or it is deleted for good."""
        pods = self.api.now.pods
        known = pods[sorted(pods)[pick % len(pods)]]
        if ends and known.node:
            self.api.put_pod(replace(known, ended=True))
        else:
            self.api.delete_pod(known.uid)
        self.watch(late=late)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        """Holds end."""
        self.clock_s += seconds
        self.ledger.expire(self.clock_s)

    def idle(self) -> list[PodRecord]:
        """Seen pending pods that are not assumed to be bound."""
        assumed = {uid for uid, kept in self.ledger.reservations() if kept.expires_s is None}
        return [pod for pod in self.api.views[self.seen].pods.values() if not pod.node and pod.uid not in assumed]

    @invariant()
    def no_gpu_is_over_capacity(self) -> None:
        """Neither in the ledger's account nor in the API server's own state at any instant."""
        for node in self.ledger.snapshot().nodes.values():
            assert all(each.overcommitted == 0 and each.core_used_percent <= 100 for each in node.gpus)
            for each in node.gpus:
                overlap = sum(_units_on(node, each.uuid, uid) for uid in self.awaited(node))
                assert each.taken <= each.capacity + overlap
        for name, (_, gpus) in expected(self.api.now, []).items():
            sizes: dict[str, int] = {each.uuid: each.capacity for each in self.ledger.snapshot().nodes[name].gpus}
            assert all(used <= sizes[uuid] and core <= 100 for uuid, (used, _, core) in gpus.items())

    def awaited(self, node: NodeInfo) -> set[str]:
        """The pods on the node of which a claim there says that they are being evicted."""
        claims = [one.uid for one in node.holders if one.hold is Hold.CLAIMED]
        return {victim for uid in claims for victim in self.victims[uid]}


def _units_on(node: NodeInfo, uuid: str, uid: str) -> int:
    """What a pod holds of a GPU."""
    footprints = [one.footprint for one in node.holders if one.uid == uid and one.footprint is not None]
    sizes = {each.uuid: each.capacity for each in node.gpus}
    return sum(sizes[GpuUuid(uuid)] if uuid in each.whole else each.shares.get(GpuUuid(uuid), 0) for each in footprints)
