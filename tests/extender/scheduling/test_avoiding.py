"""Which failures of pods count against a node, for whom, and for how long."""

from dataclasses import dataclass

import pytest

from extender.scheduling.avoiding import (
    AT_ONCE_S,
    MAX_OF_A_SCOPE,
    MAX_SCOPES,
    REMEMBERED_S,
    Avoiding,
    Failed,
    NodeFailure,
    describe,
    levels,
)
from extender.scheduling.ledger.events import PodRecord
from tests.extender.scheduling.builders import shares


@dataclass
class Told:
    """The watch shows pods of an owner, as they are bound and as they end."""

    avoiding: Avoiding

    def fails(
        self,
        uid: str,
        node: str,
        bound_s: float,
        ended_s: float,
        *,
        ran: bool = False,
        owner: str = "job",
        why: str = "E",
    ) -> NodeFailure | None:
        """A pod that was pending is bound, and ends with this reason (empty: it succeeded)."""
        pending = PodRecord(uid, request=shares(8), owner=owner)
        bound = PodRecord(uid, request=shares(8), owner=owner, node=node)
        ended = PodRecord(uid, request=shares(8), owner=owner, node=node, ended=True, failure=why, ran=ran)
        self.avoiding.seen(None, pending, bound_s)
        self.avoiding.seen(pending, bound, bound_s)
        return self.avoiding.seen(bound, ended, ended_s)

    def strikes(self, uid: str, now_s: float, owner: str = "other") -> dict[str, int]:
        """What counts for a pod of that owner."""
        return dict(self.avoiding.strikes(PodRecord(uid, request=shares(8), owner=owner), now_s))


@pytest.fixture
def told() -> Told:
    """Nothing has failed yet."""
    return Told(Avoiding())


def test_a_pod_that_the_kubelet_did_not_start_counts_for_every_pod(told: Told) -> None:
    """UnexpectedAdmissionError says something of the node."""
    failure = told.fails("a", "n1", 0.0, 0.5, why="UnexpectedAdmissionError")
    assert failure == NodeFailure("n1", Failed.REFUSED, "", "UnexpectedAdmissionError", 0.5)
    assert told.strikes("b", 1.0) == {"n1": 1}


def test_a_pod_that_ran_counts_for_its_owner_alone(told: Told) -> None:
    """A Job with a broken command must not drive others off the nodes that it was on."""
    told.fails("a", "n1", 0.0, 2.0, ran=True)
    assert told.strikes("b", 3.0, owner="job") == {"n1": 1}
    assert told.strikes("c", 3.0) == {}


def test_a_pod_that_ran_and_has_no_owner_counts_for_nobody(told: Told) -> None:
    """Nobody makes another one, and no UID comes twice."""
    assert told.fails("a", "n1", 0.0, 2.0, ran=True, owner="") is None


@pytest.mark.parametrize(("ended_s", "why"), [(AT_ONCE_S + 0.1, "Error"), (1.0, "")])
def test_a_pod_that_worked_for_a_while_or_succeeded_counts_for_nobody(told: Told, ended_s: float, why: str) -> None:
    """Short work is no failure, and a late failure is not the node's."""
    assert told.fails("a", "n1", 0.0, ended_s, ran=True, why=why) is None
    assert told.strikes("b", 20.0, owner="job") == {}


def test_a_pod_that_was_deleted_counts_for_nobody(told: Told) -> None:
    """The kubelet shows it as failed when its containers do not end well."""
    pending, bound = PodRecord("a", request=shares(8)), PodRecord("a", request=shares(8), node="n1")
    ended = PodRecord("a", request=shares(8), node="n1", ended=True, failure="Error", terminating=True)
    told.avoiding.seen(pending, bound, 0.0)
    assert told.avoiding.seen(bound, ended, 1.0) is None
    assert told.strikes("b", 1.0) == {}


def test_a_pod_that_was_bound_before_this_process_began_counts_for_nobody(told: Told) -> None:
    """How long it ran is not known."""
    ended = PodRecord("a", request=shares(8), node="n1", ended=True, failure="Error")
    assert told.avoiding.seen(None, ended, 0.0) is None


def test_a_failed_pod_that_is_shown_again_counts_once(told: Told) -> None:
    """Replay: watches repeat themselves."""
    told.fails("a", "n1", 0.0, 0.5)
    ended = PodRecord("a", request=shares(8), node="n1", ended=True, failure="Error")
    assert told.avoiding.seen(ended, ended, 0.6) is None
    assert told.avoiding.counts == {Failed.REFUSED: 1}


def test_an_attempt_that_did_not_come_to_bind_counts_for_that_pod(told: Told) -> None:
    """Its volume, its problem."""
    told.avoiding.not_bound("a", "n1", 0.0)
    assert told.strikes("a", 1.0) == {"n1": 1}
    assert told.strikes("b", 1.0) == {}


def test_a_failure_is_forgotten_after_minutes(told: Told) -> None:
    """The node gets another chance."""
    told.fails("a", "n1", 0.0, 0.0)
    assert told.strikes("b", REMEMBERED_S - 0.1) == {"n1": 1}
    assert told.strikes("b", REMEMBERED_S) == {}
    assert told.avoiding.nodes(REMEMBERED_S) == {}


def test_what_is_remembered_is_bounded(told: Told) -> None:
    """A loop of failures does not fill the memory, and those of one pod push out no others; counts go on."""
    told.fails("bad", "n0", 0.0, 0.0, why="UnexpectedAdmissionError")
    for at in range(MAX_SCOPES + 10):
        told.avoiding.not_bound(f"p{at}", "n1", 0.0)
    for _ in range(MAX_OF_A_SCOPE + 10):
        told.avoiding.not_bound("again", "n1", 0.0)
    kept = told.avoiding.nodes(1.0)
    assert (len(kept["n0"]), len(kept["n1"])) == (1, MAX_SCOPES - 1 + MAX_OF_A_SCOPE)
    assert told.avoiding.counts == {Failed.REFUSED: 1, Failed.ATTEMPT: MAX_SCOPES + MAX_OF_A_SCOPE + 20}
    assert told.strikes("other", 1.0) == {"n0": 1}


@pytest.mark.parametrize("why", ["DeadlineExceeded", "Error"])
def test_a_pod_that_ended_itself_counts_for_its_owner_alone(told: Told, why: str) -> None:
    """A deadline of a second and an image that never comes are the tenant's own; no container was started."""
    told.fails("a", "n1", 0.0, 1.0, why=why)
    assert told.strikes("b", 2.0, owner="job") == {"n1": 1}
    assert told.strikes("c", 2.0) == {}


@pytest.mark.parametrize(("why", "counted"), [("Evicted", {}), ("UnexpectedAdmissionError", {"n1": 1})])
def test_a_pod_that_was_not_seen_in_between_counts_if_the_kubelet_refused_it(
    told: Told, why: str, counted: dict[str, int]
) -> None:
    """After an outage of the watch it may have run for long."""
    pending = PodRecord("a", request=shares(8))
    ended = PodRecord("a", request=shares(8), node="n1", ended=True, failure=why)
    told.avoiding.seen(pending, ended, 0.0)
    assert told.strikes("b", 1.0) == counted


def test_levels_put_names_with_fewer_failures_first() -> None:
    """No name is lost, none comes twice."""
    assert levels(["c", "a", "b", "d"], {"a": 2, "b": 1, "x": 9}) == [["c", "d"], ["b"], ["a"]]


def test_what_counts_is_told_in_a_sentence() -> None:
    """Numbers and reasons, for explain."""
    refused = NodeFailure("n1", Failed.REFUSED, "", "UnexpectedAdmissionError", 0.0)
    attempt = NodeFailure("n1", Failed.ATTEMPT, "a", "", 0.0)
    assert describe("n1", [refused, refused, attempt]) == (
        "n1 comes last: in the last 5 minutes 2 pods failed there right after binding (UnexpectedAdmissionError) "
        "and 1 attempt to place this pod there ended before binding"
    )
