"""What is said of pods that wait, and of decisions."""

from extender.contract.units import UnitMib
from extender.scheduling.ledger.events import PodRecord
from extender.server.page.pods import MAX_PENDING, DecisionRow, asks, decision_rows, pending_rows
from extender.server.page.reasons import FITS, Reasons
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, container, node, pod, uuid

GIB = UnitMib(1024)
NOON = "2026-01-31T12:00:00.000Z"


def rows(cluster: Cluster) -> list[tuple[str, str, tuple[tuple[str, int], ...], str]]:
    """Name, what it asks for, why it waits, since when."""
    reasons = Reasons(cluster.state.policy_of, lambda: None)
    why = reasons.on(cluster.state.snapshot())
    found = pending_rows(cluster.state.pending(), cluster.decisions, why, GIB)
    return [(row.name, row.asks, row.reasons, row.since) for row in found]


def asked(body: Json) -> str:
    """What a pod asks for, in words."""
    return asks(Cluster().record(body).request, GIB)


def test_a_refused_pod_says_why_and_since_when() -> None:
    """By the cluster as it is now, most frequent first."""
    cluster = Cluster(node("a", 4), node("b", 4), node("c", 16))
    cluster.show_bound("other", 12, uuid("c", 0), "c")
    cluster.filter(pod("train", 8))
    expected = (("request is larger than the GPUs of the node", 2), ("not enough free GPU memory", 1))
    assert rows(cluster) == [("train", "8 GiB", expected, NOON)]


def test_a_pod_that_never_came_to_the_extender_is_explained_too() -> None:
    """Kube-scheduler's own account of the node is full, so filter is never called."""
    cluster = Cluster(node("a", 8))
    cluster.show_bound("other", 8, uuid("a", 0), "a")
    cluster.show(pod("train", 8))
    assert rows(cluster) == [("train", "8 GiB", (("not enough free GPU memory", 1),), "")]


def test_a_pod_that_fits_waits_for_kube_scheduler() -> None:
    """That is said."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("train", 8))
    assert rows(cluster) == [("train", "8 GiB", ((FITS, 1),), "")]


def test_a_node_that_changed_is_judged_again() -> None:
    """The other one is remembered."""
    cluster = Cluster(node("a", 16), node("b", 16))
    for name in ("a", "b"):
        cluster.show_bound(f"on-{name}", 16, uuid(name, 0), name)
    reasons, waits = Reasons(cluster.state.policy_of, lambda: None), cluster.record(pod("train", 8))
    full = "not enough free GPU memory"
    assert reasons.on(cluster.state.snapshot())(waits) == ((full, 2),)
    cluster.delete("on-a")
    assert reasons.on(cluster.state.snapshot())(waits) == ((full, 1), (FITS, 1))


def test_a_held_pod_and_a_senseless_one_have_one_reason() -> None:
    """Where there is nothing to count."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("held", 8))
    cluster.show(pod("wrong", 8, annotations={"policy": "best"}))
    (_, _, held, _), (_, _, wrong, _) = rows(cluster)
    assert held == (("Memory is held for the pod; kube-scheduler has not bound it yet.", 0),)
    assert wrong[0][0].startswith("policy 'best': expected one of ")


def test_the_most_important_pods_are_shown() -> None:
    """The others are counted by the page."""
    pods = [PodRecord(f"uid-{at}", "ns", f"p{at:03}", priority=at) for at in range(MAX_PENDING + 5)]
    found = pending_rows(pods, Cluster().decisions, lambda _pod: (), GIB)
    assert (len(found), found[0].name) == (MAX_PENDING, f"p{MAX_PENDING + 4:03}")


def test_kinds_beyond_the_budget_of_time_show_their_latest_decision() -> None:
    """Thousands of nodes and many kinds of pods must not keep the page."""
    cluster = Cluster(node("a", 4))
    cluster.filter(pod("train", 8))
    ticks = iter(range(1000))
    reasons = Reasons(cluster.state.policy_of, lambda: None, clock=lambda: float(next(ticks)))
    found = pending_rows(cluster.state.pending(), cluster.decisions, reasons.on(cluster.state.snapshot()), GIB)
    assert found[0].reasons == (("request is larger than the GPUs of the node", 1),)


def test_what_a_pod_asks_for_is_said_in_gib_gpus_and_models() -> None:
    """As its spec says it."""
    assert asked(pod("p", 8)) == "8 GiB"
    assert asked(pod("p", gpus=2)) == "2 whole GPUs"
    assert asked(pod("p", 40, annotations={"gpu-count": "2", "gpu-model": "A100*,!*MIG*"})) == (
        "2 × 20 GiB on A100*, not *MIG*"
    )
    both = [container("a", 8), container("b", gpus=1)]
    assert set(asked(pod("p", containers=both)).split(" + ")) == {"8 GiB", "1 whole GPU"}
    assert asks(None, GIB) == ""


def test_decisions_are_told_newest_first() -> None:
    """In words and with a sign, not only by colour."""
    cluster = Cluster(node("a", 4))
    cluster.filter(pod("train", 8))
    cluster.decisions.not_bound(cluster.record(pod("other", 2)), "a", "API server: 500")
    _, latest = cluster.decisions.recent(10)
    refusal = "Does not fit on the 1 node that kube-scheduler offered: request is larger than the GPUs of the node."
    assert decision_rows(latest, GIB) == [
        DecisionRow(NOON, "!", "not bound", "default", "other", "Not bound to a: API server: 500"),
        DecisionRow(NOON, "✕", "refused", "default", "train", refusal),
    ]
