"""What is said of each kind of decision: the fields of its log line, the Event, the sentence."""

import pytest

from extender.contract.units import GpuUuid, UnitMib, Units
from extender.kube.events import News
from extender.scheduling.avoiding import Failed, NodeFailure
from extender.scheduling.ranking.ranking import RunnerUp
from extender.server.record.decisions import Decided, Decision
from extender.server.record.sentences import amount, line_of, news_of, news_of_failure, sentence

GIB = UnitMib(1024)
AT = "2026-01-31T12:00:00.000Z"
BOUND = Decision(
    "bound",
    AT,
    "binpack",
    "a",
    {"main": {GpuUuid("GPU-a-0"): Units(8)}},
    (1.0, 0.25),
    feasible=12,
    rejected={"not enough free GPU memory": 3, "no GPU of the requested model": 4},
    runner_up=RunnerUp("b", (1.0, 0.5)),
)


@pytest.mark.parametrize(
    ("units", "unit_mib", "expected"), [(8, 1024, "8 GiB"), (3, 256, "0.75 GiB"), (3, 512, "1.5 GiB")]
)
def test_amounts_are_in_gib_whatever_the_unit(units: int, unit_mib: int, expected: str) -> None:
    """People compare with the size of the GPU."""
    assert amount(units, UnitMib(unit_mib)) == expected


def test_a_placement_says_what_where_and_compared_with_what() -> None:
    """The GPU, the policy, the next best node, and why not elsewhere."""
    assert sentence(BOUND, GIB) == (
        "main gets 8 GiB of GPU-a-0 on a. Policy binpack took the best of 12 nodes: cost 1/0.25; runner-up b, 1/0.5. "
        "Other nodes: no GPU of the requested model (4), not enough free GPU memory (3)."
    )


def test_equal_shares_of_several_gpus_are_said_once() -> None:
    """Eight of them would fill the Event."""
    many = Decision("bound", AT, "binpack", "a", {"main": {GpuUuid(f"GPU-{at}"): Units(8) for at in range(2)}})
    assert sentence(many, GIB).startswith("main gets 8 GiB on each of 2 GPUs (GPU-0, GPU-1) on a.")


def test_of_whole_gpus_the_pod_gets_all() -> None:
    """Not an amount, which may be that of a MIG device."""
    one = Decision("bound", AT, "binpack", "a", {"main": {GpuUuid("MIG-0"): Units(19)}}, whole=(GpuUuid("MIG-0"),))
    assert sentence(one, GIB).startswith("main gets all of MIG-0 on a.")
    two = {GpuUuid(f"GPU-{at}"): Units(80) for at in range(2)}
    both = Decision("bound", AT, "binpack", "a", {"main": two}, whole=tuple(two))
    assert sentence(both, GIB).startswith("main gets all of 2 GPUs (GPU-0, GPU-1) on a.")


def test_between_equal_nodes_the_name_decides_and_that_is_said() -> None:
    """No policy preferred one."""
    tied = Decision("bound", AT, "binpack", "a", BOUND.gpus, (1.0,), feasible=2, runner_up=RunnerUp("b", (1.0,)))
    assert sentence(tied, GIB).endswith("took the best of 2 nodes: cost 1; runner-up b, also 1 (tie broken by name).")


def test_a_placement_without_choice_says_so() -> None:
    """One node fitted."""
    alone = Decision("bound", AT, "binpack", "a", BOUND.gpus, (1.0,), feasible=1)
    assert sentence(alone, GIB) == "main gets 8 GiB of GPU-a-0 on a. It fits on only 1 node (policy binpack)."


def test_a_choice_at_bind_compares_nothing() -> None:
    """What filter held was gone, or another process held it."""
    late = Decision("bound", AT, "binpack", "a", BOUND.gpus, (1.0,))
    assert sentence(late, GIB) == "main gets 8 GiB of GPU-a-0 on a. Policy binpack chose the GPUs at bind."


def test_a_refusal_counts_its_reasons_most_frequent_first() -> None:
    """As kube-scheduler does."""
    refused = Decision("rejected", AT, rejected={"not enough free GPU memory": 1, "fewer GPUs than requested": 2})
    offered = "nodes that kube-scheduler offered"
    assert sentence(refused, GIB) == (
        f"Does not fit on any of the 3 {offered}: fewer GPUs than requested (2), not enough free GPU memory (1)."
    )
    assert sentence(Decision("rejected", AT, rejected={"not enough free GPU memory": 1}), GIB) == (
        "Does not fit on the 1 node that kube-scheduler offered: not enough free GPU memory."
    )


def test_a_refusal_without_nodes_says_so() -> None:
    """Kube-scheduler asked about none."""
    assert sentence(Decision("rejected", AT), GIB) == "Does not fit: kube-scheduler offered no node."


def test_evictions_name_the_first_nodes() -> None:
    """The line has them all."""
    answers = {f"n{at}": ("uid-1",) * (at + 1) for at in range(5)}
    assert sentence(Decision("preempting", AT, victims=answers), GIB) == (
        "Evicting pods makes room on n0 (1 pod), n1 (2 pods), n2 (3 pods) and 2 more; kube-scheduler picks one node."
    )


@pytest.mark.parametrize(
    ("verdict", "level", "reason"),
    [
        ("bound", "Normal", "GpupackPlaced"),
        ("rejected", "Warning", "GpupackUnplaceable"),
        ("not bound", "Warning", "GpupackNotBound"),
        ("preempting", "Normal", "GpupackPreempting"),
        ("moved", "Normal", "GpupackMoved"),
    ],
)
def test_each_verdict_has_its_event(verdict: str, level: str, reason: str) -> None:
    """The reasons are documented; dashboards count them."""
    decided = Decided("team", "train", "uid-1", Decision(verdict, AT, node="a", message="why"))
    said = sentence(decided.decision, GIB)
    assert news_of(decided, said) == News("team", "train", "uid-1", level, reason, said)


def test_the_line_answers_who_got_what_when_and_why() -> None:
    """In fields that scripts can read; nothing is left empty."""
    assert line_of(Decided("team", "train", "uid-1", BOUND), GIB) == {
        "verdict": "bound",
        "reason": "GpupackPlaced",
        "namespace": "team",
        "pod": "train",
        "uid": "uid-1",
        "at": AT,
        "node": "a",
        "gpus": {"main": {"GPU-a-0": 8}},
        "unitMib": 1024,
        "policy": "binpack",
        "cost": [1.0, 0.25],
        "runnerUp": {"node": "b", "cost": [1.0, 0.5]},
        "feasible": 12,
        "rejected": {"not enough free GPU memory": 3, "no GPU of the requested model": 4},
    }


def test_a_node_that_fails_pods_gets_one_sentence_for_each_reason() -> None:
    """Equal ones are counted on one Event; nothing in it changes from pod to pod."""
    refused = news_of_failure(NodeFailure("n1", Failed.REFUSED, "", "UnexpectedAdmissionError", 1.0))
    ended = news_of_failure(NodeFailure("n1", Failed.ENDED, "uid-job", "Error", 1.0))
    said = (refused.kind, refused.name, refused.level, refused.reason)
    assert said == ("Node", "n1", "Warning", "GpupackNodeAvoided")
    assert refused.message == (
        "The kubelet refuses pods here (UnexpectedAdmissionError). gpupack prefers other nodes for 5 minutes."
    )
    assert ended.message == (
        "Pods fail right after they were bound here (Error). "
        "gpupack prefers other nodes for pods of the same owner for 5 minutes."
    )


def test_avoided_nodes_are_told_with_the_placement() -> None:
    """Else the runner-up would be no explanation."""
    decision = Decision("bound", "", "binpack", "n2", {"main": {}}, (1.0,), 2, avoided=1)
    assert sentence(decision, GIB).endswith("1 node avoided, because pods failed there in the last minutes.")
