"""The latest decision on each pod: what is remembered, for how many pods, and what is logged."""

import logging
from datetime import datetime, timedelta, timezone

import pytest

from extender.contract.units import Units
from extender.decisions import Decision, Decisions, timestamp
from extender.outcomes import Rejected
from extender.scheduling.events import PodRecord
from extender.scheduling.reasons import Misfit
from tests.extender.cluster import NOON, Cluster
from tests.extender.objects import node, pod, uuid


def decision(cluster: Cluster, name: str = "train") -> Decision:
    """The latest one on a pod."""
    found = cluster.decisions.of(f"uid-{name}")
    assert found is not None
    return found


def test_a_timestamp_is_utc_with_milliseconds() -> None:
    """RFC 3339, whatever the zone of the clock."""
    here = datetime(2026, 1, 31, 14, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(here) == "2026-01-31T12:30:00.123Z"


def test_a_held_pod_is_remembered_with_its_plan_and_the_other_nodes() -> None:
    """Where, by which policy, at which cost, and why not elsewhere."""
    cluster = Cluster(node("a", 16), node("b", 4))
    plan = cluster.hold(pod("train", 8))
    assert decision(cluster) == Decision(
        verdict="held",
        at="2026-01-31T12:00:00.000Z",
        policy="binpack",
        node="a",
        gpus={"main": {uuid("a", 0): Units(8)}},
        cost=plan.cost,
        feasible=1,
        rejected={"request is larger than the GPUs of the node": 1},
    )


def test_lesson_21_a_refusal_by_a_thousand_nodes_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """Reasons are counted; no node is listed."""
    cluster = Cluster(*(node(f"n{at}", 4) for at in range(999)), node("large", 8))
    cluster.show_bound("other", 8, uuid("large", 0), "large")
    with caplog.at_level(logging.DEBUG):
        assert isinstance(cluster.filter(pod("train", 8)), Rejected)
    (line,) = caplog.records
    assert line.levelname == "INFO"
    assert line.getMessage() == (
        "filter default/train: fits on no node: "
        "{'request is larger than the GPUs of the node': 999, 'not enough free GPU memory': 1}"
    )


def test_lesson_21_a_pass_of_a_thousand_nodes_is_one_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    """And none at the default level."""
    cluster = Cluster(*(node(f"n{at}", 16) for at in range(1000)))
    with caplog.at_level(logging.DEBUG):
        cluster.hold(pod("train", 8))
    assert [line.levelname for line in caplog.records] == ["DEBUG"]


def test_a_bound_pod_keeps_what_filter_counted() -> None:
    """So that `explain` can say how many nodes fitted."""
    cluster = Cluster(node("a", 16), node("b", 4))
    plan = cluster.hold(pod("train", 8))
    cluster.decisions.bound(cluster.record(pod("train", 8)), "binpack", plan)
    assert (decision(cluster).verdict, decision(cluster).feasible) == ("bound", 1)
    assert sum(decision(cluster).rejected.values()) == 1


def test_a_failed_bind_is_remembered_with_its_text() -> None:
    """By UID: the pod may be unknown."""
    decisions = Decisions(lambda: NOON)
    decisions.not_bound("uid-1", "default/train", "a", "API server: 500")
    expected = Decision("not bound", "2026-01-31T12:00:00.000Z", node="a", message="API server: 500")
    assert decisions.of("uid-1") == expected


def test_only_the_latest_pods_are_remembered() -> None:
    """The one whose decision is oldest goes first; a new decision makes young again."""
    decisions = Decisions(lambda: NOON, limit=2)
    for uid in ("uid-1", "uid-2", "uid-1", "uid-3"):
        decisions.rejected(PodRecord(uid), {"a": Misfit.FULL})
    assert [decisions.of(f"uid-{at}") is not None for at in (1, 2, 3)] == [True, False, True]


def test_of_an_unknown_pod_nothing_is_known() -> None:
    """Not decided on, or forgotten."""
    assert Decisions(lambda: NOON).of("uid-1") is None
