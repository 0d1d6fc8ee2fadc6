"""On schedulers that do not say so on the pod, its claims tell that it waits for a volume: its room stays held."""

import logging

import pytest

from extender.decoding.volumes import SELECTED_NODE
from extender.kube.errors import ApiError
from extender.scheduling.ledger.attempts import LONGEST_S
from extender.server.state.outcomes import Assumed, Passed, Rejected
from extender.server.volumes import AHEAD_S, CLAIMS_OF_A_POD, PODS_A_ROUND, STEP_S, VolumeWaits
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import Json, node, pod
from tests.fakes.binding_api import BindingApi, Trouble, unreachable
from tests.fakes.refusals import refused

ROUND_S = 0.25


def slow(version: int = 1, name: str = "slow") -> Json:
    """A pod of 10 with a volume of its own."""
    return with_claims(f"{name}-data", version=version, name=name)


def with_claims(*claims: str, version: int = 1, name: str = "slow") -> Json:
    """A pod of 10 with these claims."""
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    return pod(name, 10, version=version, volumes=volumes)


def awaited(on: str, phase: str = "Pending") -> Json:
    """A claim whose volume is being made for a node."""
    annotations = {SELECTED_NODE: on} if on else {}
    return {"metadata": {"name": "any", "annotations": annotations}, "status": {"phase": phase}}


class Bench:
    """Room for one pod of 10 on each node, and `slow` with a hold on one; rounds are run by the test."""

    def __init__(self, *nodes: str, answers: int = 1) -> None:
        self.cluster = Cluster(*(node(name, 16) for name in nodes or ("a",)), answers=answers)
        self.api = BindingApi(slow())
        self.volumes = VolumeWaits(self.cluster.state, self.api, self.cluster.clock)
        self.cluster.hold(slow())

    def slow_down(self, read_s: float) -> None:
        """From now on a read takes that long."""
        self.api = _Slow(self.cluster, self.api, read_s)
        self.volumes = VolumeWaits(self.cluster.state, self.api, self.cluster.clock)

    def give_claims(self, *phases: str) -> None:
        """`slow` has these claims, all for `a`."""
        names = [f"c{at:02}" for at in range(len(phases))]
        self.api.pods["slow"] = with_claims(*names)
        self.api.claims = {name: awaited("a", phase) for name, phase in zip(names, phases, strict=True)}

    def pass_time(self, seconds: float) -> None:
        """Run the rounds of that time."""
        for _ in range(round(seconds / ROUND_S)):
            self.cluster.clock.advance(ROUND_S)
            self.volumes.round()


class _Slow(BindingApi):
    """Each read takes a while."""

    def __init__(self, cluster: Cluster, like: BindingApi, read_s: float) -> None:
        super().__init__(*like.pods.values())
        self.claims = like.claims
        self._cluster = cluster
        self._read_s = read_s

    def read(self, path: str, timeout_s: float = 10.0) -> bytes:
        """Look at the clock, too: what has ended by then is over."""
        self._cluster.clock.advance(self._read_s)
        self._cluster.state.snapshot()
        return super().read(path, timeout_s)


def test_a_pod_that_waits_for_its_volume_keeps_its_room() -> None:
    """`late` comes after the bound and is refused; `slow` is bound when its volume is there."""
    bench = Bench()
    bench.api.claims["slow-data"] = awaited("a")
    bench.pass_time(HOLD_S + 10)
    assert isinstance(bench.cluster.filter(slow(name="late")), Rejected)
    bench.api.claims["slow-data"] = awaited("a", "Bound")
    bench.pass_time(2)
    assert isinstance(bench.cluster.bind("slow", "a"), Assumed)


@pytest.mark.parametrize("claim", [awaited(""), awaited("a", "Bound"), None])
def test_without_a_volume_that_is_awaited_the_bound_holds(claim: Json | None) -> None:
    """Nothing says that the attempt goes on: not made yet, there already, or no such claim."""
    bench = Bench()
    if claim is not None:
        bench.api.claims["slow-data"] = claim
    bench.pass_time(HOLD_S)
    assert isinstance(bench.cluster.filter(slow(name="late")), Passed)
    assert bench.api.reads == 2


def test_the_claims_are_read_shortly_before_a_hold_ends_and_not_before() -> None:
    """Hardly any hold lasts so long; then once for each step."""
    bench = Bench()
    bench.api.claims["slow-data"] = awaited("a")
    bench.pass_time(HOLD_S - AHEAD_S - ROUND_S)
    assert bench.api.reads == 0
    bench.pass_time(6 * STEP_S)
    assert bench.api.reads <= 2 * (6 * STEP_S / (STEP_S - AHEAD_S) + 1)


def test_a_volume_that_is_never_made_ends_the_hold_in_the_end() -> None:
    """kube-scheduler has given up long before."""
    bench = Bench()
    bench.api.claims["slow-data"] = awaited("a")
    bench.pass_time(LONGEST_S - ROUND_S)
    assert bench.cluster.free("a") == [6]
    bench.pass_time(ROUND_S)
    assert bench.cluster.free("a") == [16]


def test_room_is_held_where_the_volume_is_made() -> None:
    """Filter had named two nodes, and another plugin preferred the second."""
    bench = Bench("a", "b", answers=2)
    assert (bench.cluster.free("a"), bench.cluster.free("b")) == ([6], [16])
    bench.api.claims["slow-data"] = awaited("b")
    bench.pass_time(HOLD_S + 10)
    assert (bench.cluster.free("a"), bench.cluster.free("b")) == ([16], [6])


def test_a_pod_that_passes_again_is_not_looked_at() -> None:
    """What its claims say may be left from the attempt before."""
    bench = Bench()
    bench.api.claims["slow-data"] = awaited("a")
    bench.cluster.hold(slow(2))
    bench.pass_time(HOLD_S / 4)
    assert bench.cluster.free("a") == [16]
    assert bench.api.reads == 0


@pytest.mark.parametrize(
    "trouble",
    [
        unreachable(sent=True),
        refused(503, "ServiceUnavailable", "etcd"),
        refused(429, "TooManyRequests", "slow down"),
        ApiError(404, "Not Found", "<html>default backend"),
    ],
)
def test_while_nobody_can_say_room_stays_held(trouble: Trouble) -> None:
    """As long as that lasts, and no longer."""
    bench = Bench()
    bench.api.unreadable.extend([trouble] * 2)
    bench.pass_time(HOLD_S + STEP_S + 1)
    assert bench.cluster.free("a") == [6]
    bench.pass_time(STEP_S)
    assert bench.cluster.free("a") == [16]


def test_a_missing_right_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """And the bound holds as it is."""
    bench = Bench()
    with caplog.at_level(logging.WARNING):
        for version in (2, 3):
            bench.api.unreadable.append(refused(403, "Forbidden", "cannot get persistentvolumeclaims"))
            bench.pass_time(HOLD_S)
            assert bench.cluster.free("a") == [16]
            bench.pass_time(2 * HOLD_S)
            bench.cluster.hold(slow(version))
    (told,) = [each.getMessage() for each in caplog.records]
    assert told.startswith("can't see which pods wait for a volume: their room is held for --hold-s at most: 403")


def test_an_answer_that_is_no_object_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the bound holds."""
    bench = Bench()
    bench.api.claims["slow-data"] = {"kind": "Status"}
    bench.pass_time(HOLD_S)
    assert bench.cluster.free("a") == [16]
    assert "volumes of pod default/slow are not known" in caplog.text


def test_a_round_reads_for_a_bounded_number_of_pods() -> None:
    """The others' turn is a quarter of a second later."""
    bench = Bench()
    names = [f"p{at}" for at in range(2 * PODS_A_ROUND)]
    bench.cluster.add_node(node("large", *[16] * len(names)))
    for name in names:
        body = slow(name=name)
        bench.api.pods[name] = body
        bench.api.claims[f"{name}-data"] = awaited("large")
        bench.cluster.hold(body, "large")
    bench.cluster.clock.advance(HOLD_S - AHEAD_S)
    bench.volumes.round()
    assert bench.api.reads <= 2 * PODS_A_ROUND
    bench.pass_time(HOLD_S)
    assert sum(bench.cluster.free("large")) == len(names) * 6


@pytest.mark.parametrize("read_s", [0.25, 0.9])
def test_slow_reads_end_no_hold(read_s: float) -> None:
    """Only the last of many claims is awaited, and it is not come to in time."""
    bench = Bench()
    bench.give_claims(*["Bound"] * 15, "Pending")
    bench.slow_down(read_s)
    bench.pass_time(2 * HOLD_S)
    assert bench.cluster.free("a") == [6]


def test_more_holds_that_end_at_a_time_than_can_be_looked_at_end_no_hold() -> None:
    """In turns all of them are looked at, and those without an awaited volume end."""
    bench = Bench()
    names = [f"p{at}" for at in range(60)]
    bench.cluster.add_node(node("large", *[16] * len(names)))
    for at, name in enumerate(names):
        bench.api.pods[name] = slow(name=name)
        bench.api.claims[f"{name}-data"] = awaited("large", "Pending" if at % 2 else "Bound")
        bench.cluster.hold(slow(name=name), "large")
    bench.slow_down(0.2)
    bench.pass_time(HOLD_S)
    assert sum(16 - free for free in bench.cluster.free("large")) >= len(names) // 2 * 10
    bench.pass_time(2 * HOLD_S)
    assert sum(16 - free for free in bench.cluster.free("large")) == len(names) // 2 * 10


def test_reading_stops_at_the_first_claim_that_is_awaited() -> None:
    """The others would change nothing."""
    bench = Bench()
    bench.give_claims("Bound", "Pending", "Pending", "Pending")
    bench.pass_time(HOLD_S)
    assert bench.api.reads == 3
    assert bench.cluster.free("a") == [6]


@pytest.mark.parametrize(("claims", "free"), [(CLAIMS_OF_A_POD, [16]), (CLAIMS_OF_A_POD + 1, [6])])
def test_of_a_pod_with_more_claims_than_are_read_nobody_can_say(claims: int, free: list[int]) -> None:
    """All that were read are bound."""
    bench = Bench()
    bench.give_claims(*["Bound"] * claims)
    bench.pass_time(HOLD_S)
    assert bench.cluster.free("a") == free
