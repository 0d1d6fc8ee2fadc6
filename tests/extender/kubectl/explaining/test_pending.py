"""What keeps a pending pod waiting: told from the nodes, its scheduler's words and a running extender."""

from typing import Any

from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.explanation import Explanation
from extender.kubectl.explaining.pending import explain_waiting
from extender.scheduling.fitting.describing import describe_nodes
from extender.scheduling.fitting.reasons import Misfit
from extender.server.explaining import explain
from tests.extender.cluster import Cluster
from tests.extender.kubectl.views import on, refused, view
from tests.extender.objects import Json, mixed_node, node, pod, uuid

FULL = f"0/1 nodes are available: 1 {Misfit.FULL.text}."


def waiting(waits: Json, *others: Json, nodes: tuple[Json, ...] = (), extender: Any = None) -> Explanation:
    """The explanation of the pod `waits`, by default on one node of 16 units."""
    seen = view(nodes or (node("a", 16),), [waits, *others])
    record = seen.find("default", "waits")
    assert record is not None
    return explain_waiting(seen, seen.pods[record.uid], record, (), extender)


def said(cluster: Cluster, not_ready: str = "") -> dict[str, Any]:
    """What a running extender says, of the pod `waits` and of the nodes."""
    nodes = describe_nodes(cluster.state.snapshot(), unit_mib=cluster.state.unit_mib)
    return {"notReady": not_ready, "explain": explain(cluster.state, "default", "waits", limit=0), "nodes": nodes}


def test_a_request_without_meaning() -> None:
    """Its own words; no node is to blame."""
    found = waiting(pod("waits", 4, annotations={"gpu-count": "two"}))
    assert found.cause is Cause.BAD_REQUEST
    assert "annotation gpupack.io/gpu-count is 'two'" in found.why
    assert found.diagnosis is None


def test_scheduling_gates() -> None:
    """No scheduler looks at it before they are gone."""
    found = waiting(pod("waits", 4, schedulingGates=[{"name": "team/approved"}]))
    assert (found.cause, found.facts) == (Cause.GATED, ("gates: team/approved",))


def test_an_extender_that_does_not_answer_and_one_that_has_lost_touch() -> None:
    """Both are errors to kube-scheduler; only its words tell them apart."""
    dead = refused(pod("waits", 4), 'Post "http://127.0.0.1:39999/filter": connection refused', "SchedulerError")
    assert waiting(dead).cause is Cause.NO_EXTENDER
    lost = refused(
        pod("waits", 4), "gpupack: the scheduler extender has lost touch with the API server", "SchedulerError"
    )
    assert waiting(lost).cause is Cause.STALE_VIEW
    ends = refused(pod("waits", 4), "gpupack: the scheduler extender is shutting down", "SchedulerError")
    assert waiting(ends).helps[0].startswith("another replica takes over")


def test_an_extender_that_is_not_ready_is_asked() -> None:
    """Before kube-scheduler has come to say it."""
    extender = {"notReady": "extender URL: the scheduler extender has lost touch with the API server (503)"}
    assert waiting(pod("waits", 4), extender=extender).cause is Cause.STALE_VIEW


def test_what_it_asks_for_in_words() -> None:
    """Compute and models, for shares and for whole GPUs."""
    assert waiting(pod("waits", 4, core=90)).asks == "4Gi and 90% of the compute"
    model = {"gpu-model": "A100"}
    assert waiting(pod("waits", 8, annotations=model)).asks == "8Gi on a GPU matching A100"
    assert waiting(pod("waits", gpus=2, annotations=model)).asks == "2 GPUs matching A100"


def test_a_model_without_its_wildcard() -> None:
    """The documented pitfall: `A100` is the whole name."""
    here = node("a", 40, model="NVIDIA A100-SXM4-40GB")
    found = waiting(pod("waits", 4, annotations={"gpu-model": "A100"}), nodes=(here,))
    assert 'gpu-model "A100*" would match NVIDIA A100-SXM4-40GB' in found.helps
    assert found.why == "no GPU of the requested model (a has NVIDIA A100-SXM4-40GB)"


def nominated(extender: Any = None, *, leaving: bool) -> Explanation:
    """The pod `waits` is nominated to the full node `a`, where a pod of lower priority may be terminating."""
    body = pod("waits", 4, status={"phase": "Pending", "nominatedNodeName": "a"}, priority=10)
    there = on("there", 16, uuid("a", 0), "a")
    if leaving:
        there["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    return waiting(body, there, extender=extender)


def test_pods_that_are_evicted_for_it() -> None:
    """On the node that kube-scheduler nominated, and who they are."""
    found = nominated(leaving=True)
    assert (found.cause, found.facts) == (
        Cause.PREEMPTING,
        ("nominated node: a", "terminating there: default/there"),
    )


def test_a_nomination_where_nobody_leaves_explains_nothing() -> None:
    """The node is full, and that is why it waits."""
    assert nominated(leaving=False).cause is Cause.FULL


def test_a_pod_that_is_about_to_be_bound_is_nominated_too() -> None:
    """From Kubernetes 1.35 on, while it waits for a volume or its gang; nobody is evicted for it."""
    body = pod("waits", 4, status={"phase": "Pending", "nominatedNodeName": "a"})
    found = waiting(body)
    assert (found.cause, found.facts) == (Cause.BINDING, ("nominated node: a",))
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("waits", 4))
    found = waiting(body, extender=said(cluster))
    assert (found.cause, found.facts) == (Cause.BINDING, ("nominated node: a", "room is held for it on a"))


def test_nobody_has_looked_at_it() -> None:
    """The name of its scheduler, and of those that do place pods here."""
    other = {**on("there", 4, uuid("a", 0), "a")}
    other["spec"] = {**other["spec"], "schedulerName": "gpupack-scheduler"}
    found = waiting(pod("waits", 4, schedulerName="typo"), other)
    assert found.cause is Cause.NOT_SEEN
    responsible = ("its schedulerName is typo", "pods with GPUs here are placed by gpupack-scheduler")
    assert "create it again with the schedulerName of a scheduler that asks gpupack" in found.helps
    assert found.facts[1:] == responsible
    too_large = waiting(pod("waits", 40, schedulerName="typo"), other)
    assert (too_large.cause, too_large.facts) == (Cause.TOO_LARGE, ("on a", *responsible))


def test_a_rule_that_only_kube_scheduler_knows() -> None:
    """Its words have no GPU in them: the pod's affinity to other pods, a volume, a port."""
    text = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    found = waiting(refused(pod("waits", 4), text))
    assert (found.cause, found.scheduler_message) == (Cause.SCHEDULER, text)


def test_room_that_a_pod_in_flight_may_hold() -> None:
    """Without an extender to ask, who may be it is named: not refused, not bound, not gated."""
    others = (
        pod("first", 14),
        refused(pod("also-waits", 14), FULL),
        pod("gated", 14, schedulingGates=[{"name": "x"}]),
        pod("plain"),
    )
    found = waiting(refused(pod("waits", 4), FULL), *others)
    assert found.cause is Cause.HELD
    assert found.facts[1] == "pods that may be on their way there: default/first"
    assert any(text.startswith("with --extender URL") for text in found.helps)


def test_room_that_the_extender_holds() -> None:
    """For whom, how much and where, as it says itself."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("first", 14))
    cluster.show(pod("waits", 4))
    found = waiting(refused(pod("waits", 4), FULL), pod("first", 14), extender=said(cluster))
    assert (found.cause, found.facts[1]) == (Cause.HELD, "held for default/first (14Gi of a/0)")


def test_room_that_is_held_for_the_pod_itself() -> None:
    """It is being bound."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("waits", 4))
    found = waiting(pod("waits", 4), extender=said(cluster))
    assert (found.cause, found.facts) == (Cause.BINDING, ("room is held for it on a",))


def test_it_was_refused_and_fits_by_now() -> None:
    """Nobody is in flight, and the extender would let it in."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("waits", 4))
    assert waiting(refused(pod("waits", 4), FULL), extender=said(cluster)).cause is Cause.RETRY
    native = refused(pod("waits", 4), "0/1 nodes are available: 1 Insufficient gpupack.io/gpu-mem.")
    assert waiting(native).cause is Cause.RETRY


def test_no_node_at_all_and_none_with_gpus() -> None:
    """Both are called by their name."""
    assert waiting(pod("waits", 4), nodes=(node("cpu"),)).cause is Cause.NO_GPUS
    seen = view([], [pod("waits", 4)])
    record = seen.find("default", "waits")
    assert record is not None
    assert explain_waiting(seen, seen.pods[record.uid], record, ()).facts == ("the cluster has no nodes",)


def test_the_gpus_of_the_nearest_nodes_are_shown() -> None:
    """Three of them, the largest hole first."""
    nodes = tuple(node(f"n{at}", 10 + at) for at in range(5))
    others = [on(f"p{at}", 10, uuid(f"n{at}", 0), f"n{at}", version=at + 1) for at in range(5)]
    found = waiting(refused(pod("waits", 8), FULL), *others, nodes=nodes)
    assert found.gpus is not None
    assert list(found.gpus) == ["n4", "n3", "n2"]
    assert found.gpus["n4"][0]["why"] == "4Gi of 14Gi free; 8Gi needed"
    assert found.asks == "8Gi"


def test_one_pair_of_brackets() -> None:
    """Whether the reason has brackets of its own or not; and a pattern is shown as it was written."""
    nodes = (mixed_node("a"),)
    found = waiting(pod("waits", gpus=2, annotations={"gpu-model": "*mig-1g*"}), nodes=nodes)
    assert found.why == (
        "fewer GPUs than requested (MIG devices cannot be combined): "
        "2 GPUs wanted; a has only MIG devices of that model"
    )
    assert found.asks == "2 GPUs matching *mig-1g*"
