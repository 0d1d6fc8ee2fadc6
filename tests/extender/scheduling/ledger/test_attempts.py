"""What a change of a pod says of kube-scheduler's attempt, and how long room is held where nothing is said."""

import pytest

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.attempts import LONGEST_S, SHORTEST_S, Passes, Sign, bound_s, sign_of
from extender.scheduling.ledger.events import PodRecord
from tests.extender.scheduling.builders import shares

OURS = "Unschedulable: 0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 not enough free GPU memory."
OUR_ERROR = "SchedulerError: gpupack: the scheduler extender has not read the cluster yet"
FAILED = 'SchedulerError: binding volumes: provisioning failed for PVC "data"'
REJECTED = 'Unschedulable: 0/1 nodes are available: 1 pod "train" rejected while waiting on permit: gang is incomplete.'


def record(refusal: str = "", nominated: str = "") -> PodRecord:
    """A pending pod."""
    return PodRecord("uid", request=shares(8), refusal=refusal, nominated_node=nominated)


@pytest.mark.parametrize(
    ("before", "now", "sign"),
    [
        (record(), record(), Sign.NONE),
        (record(FAILED), record(FAILED), Sign.NONE),
        (record(), record(nominated="a"), Sign.WAITS),
        (record(OURS), record(OURS, "a"), Sign.WAITS),
        (record(FAILED, "a"), record(FAILED, "a"), Sign.NONE),
        (record(), record(FAILED), Sign.ENDED),
        (record(OURS), record(REJECTED), Sign.ENDED),
        (record(FAILED), record(REJECTED), Sign.ENDED),
        (record("", "a"), record(FAILED), Sign.ENDED),
        (record(FAILED, "a"), record(FAILED), Sign.ENDED),
        (record(FAILED, "a"), record(FAILED, "b"), Sign.ELSEWHERE),
        (record(), record("", "b"), Sign.ELSEWHERE),
        (record("", "b"), record(), Sign.NONE),
        (record(FAILED), record(), Sign.NONE),
    ],
)
def test_signs_of_the_attempt_on_a_node(before: PodRecord, now: PodRecord, sign: Sign) -> None:
    """A nomination says that it waits; a new refusal, or a nomination that went, that it has ended."""
    assert sign_of("a", before, now, waits=False) is sign


@pytest.mark.parametrize("text", [OURS, OUR_ERROR, *(f"Unschedulable: 1 {each.text}." for each in Misfit)])
def test_the_echo_of_an_own_refusal_ends_nothing(text: str) -> None:
    """It is about the try before: kube-scheduler writes it when the next one may have passed already."""
    assert sign_of("a", record(), record(text), waits=False) is Sign.NONE
    assert sign_of("a", record(FAILED), record(text), waits=False) is Sign.NONE
    assert sign_of("a", record("", "a"), record(text), waits=False) is Sign.NONE


@pytest.mark.parametrize("text", ["", FAILED, OURS, OUR_ERROR])
def test_a_wait_that_is_over_has_ended_the_attempt(text: str) -> None:
    """Whatever is said of it, if it was seen to wait: with an echo the order would be the other way round."""
    assert sign_of("a", record("", "a"), record(text), waits=True) is Sign.ENDED


def test_a_failure_after_an_echo_is_seen() -> None:
    """Although the pod had failed with the same words before."""
    assert sign_of("a", record(FAILED), record(OURS), waits=False) is Sign.NONE
    assert sign_of("a", record(OURS), record(FAILED), waits=False) is Sign.ENDED


def test_a_pod_that_was_edited_into_nonsense_is_bound_by_no_attempt() -> None:
    """Its request has become invalid."""
    assert sign_of("a", record(), PodRecord("uid", request_error="gpu-count is x"), waits=False) is Sign.ENDED


def test_each_pass_without_a_bind_holds_a_quarter_as_long() -> None:
    """Never less than a second, and never more than the setting."""
    assert [bound_s(30, times) for times in (1, 2, 3, 4, 5, 10**9)] == [30, 7.5, 1.875, 1, 1, 1]
    assert [bound_s(0.1, times) for times in (1, 2)] == [0.1, 0.1]
    assert SHORTEST_S < 30 < LONGEST_S


def test_passes_are_counted_until_the_pod_comes_to_bind() -> None:
    """Those that are further apart than the given time each count as the first."""
    passes = Passes(60)
    assert [passes.count("x", "a", at_s) for at_s in (0, 10, 70, 131, 140)] == [1, 2, 3, 1, 2]
    passes.forget("x")
    assert passes.count("x", "a", 141) == 1
    assert passes.count("y", "a", 141) == 1


def test_where_an_attempt_failed_is_said_once() -> None:
    """On the node that filter named, or that kube-scheduler took instead."""
    passes = Passes(60)
    assert passes.failed_on("x") == ""
    passes.count("x", "a", 0)
    assert [passes.failed_on("x"), passes.failed_on("x")] == ["a", ""]
    passes.count("x", "a", 1)
    passes.moved("x", "b")
    passes.moved("y", "b")
    assert [passes.failed_on("x"), passes.failed_on("y")] == ["b", ""]


def test_the_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod that passed longest ago is forgotten."""
    monkeypatch.setattr("extender.scheduling.ledger.attempts.MAX_REMEMBERED", 2)
    passes = Passes(60)
    for uid in ("x", "y", "x", "z"):
        passes.count(uid, "a", 0)
    assert (len(passes), passes.count("x", "a", 0), passes.count("y", "a", 0)) == (2, 3, 1)
