"""Answers `/v1/explain`: why a pod waits, or where it is, why there, by which policy and since when."""

from dataclasses import asdict
from typing import Any

from extender.contract.refusals import EVICTING, ROOM_IS_HELD
from extender.scheduling.avoiding import describe
from extender.scheduling.fitting.describing import explain_pending, gpus_of
from extender.scheduling.fitting.judging import nearest
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.ledger.reservation import Reservation
from extender.server.record.decisions import History
from extender.server.state.state import State


def explain(state: State, namespace: str, name: str, *, limit: int) -> dict[str, Any] | None:
    """What is known of the pod, ready for JSON; None when there is no such pod that asks for GPUs.

    Args:
        state: the extender's state.
        namespace: the pod's namespace.
        name: the pod's name.
        limit: nodes that are explained in full.
    """
    pod = state.find(namespace, name)
    if pod is None:
        return _gone(state, namespace, name)
    if pod.request is None and not pod.request_error:
        return None
    answer: dict[str, Any] = {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "node": pod.node,
        **_decided(state, state.decisions.history(pod.uid)),
    }
    if pod.request_error:
        return {**answer, "state": "rejected", "why": pod.request_error}
    if pod.ended:
        return {**answer, "state": "ended", "why": "the pod has ended and holds nothing"}
    return {**answer, **(_bound(state, pod) if pod.node else _pending(state, pod, limit))}


def _gone(state: State, namespace: str, name: str) -> dict[str, Any] | None:
    """What was decided on a pod that is no more."""
    history = state.decisions.find(namespace, name)
    if history is None:
        return None
    known = {"namespace": namespace, "name": name, "uid": history.uid, "node": ""}
    return {**known, **_decided(state, history), "state": "gone", "why": "the pod is gone and holds nothing"}


def _decided(state: State, history: History | None) -> dict[str, Any]:
    """The decisions that are remembered, oldest first, and what is no longer known of earlier ones."""
    decisions = [asdict(decision) for decision in history.decisions] if history is not None else []
    if history is not None and history.forgotten:
        unknown = f"{history.forgotten} earlier decisions are no longer known here; the log has them"
    else:
        unknown = f"this extender remembers nothing from before {state.decisions.since}; the log has it"
    return {
        "decision": decisions[-1] if decisions else None,
        "decisions": decisions,
        "unknown": unknown,
    }


def _bound(state: State, pod: PodRecord) -> dict[str, Any]:
    node = state.snapshot().nodes.get(pod.node)
    placed = {"policy": pod.policy, "placedAt": pod.placed_at}
    if pod.footprint is None:
        why = (
            "bound without an allocation that can be read; charged to the emptiest GPU until the device plugin reports"
        )
        return {**placed, "state": "bound", "why": why, "gpus": []}
    why = f"policy {pod.policy} chose it" if pod.policy else "placed by its annotations"
    return {**placed, "state": "bound", "why": why, "gpus": gpus_of(pod.footprint, node)}


def _pending(state: State, pod: PodRecord, limit: int) -> dict[str, Any]:
    request = pod.request
    if request is None:  # the caller has answered that case
        return {}
    policy = state.policy_of(request)
    explained = explain_pending(state.snapshot_for(pod.uid), request, policy, unit_mib=state.unit_mib, limit=limit)
    held = state.reservation(pod.uid)
    if held is not None and held.claimed:
        why = f"{EVICTING} on {held.node}, and what they leave is kept for it"
    elif held is not None:
        why = f"{ROOM_IS_HELD} on {held.node}"
    elif "fits" in explained["reasons"]:
        why = "it fits now; kube-scheduler has not asked again yet, or another plugin keeps it from these nodes"
    else:
        # The reason of the nodes where least is missing, as kubectl gpupack explain has it; not that of most nodes.
        reason = nearest(Misfit(text) for text in explained["reasons"])
        why = "no node is known to gpupack" if reason is None else reason.text
    avoided = [describe(node, failures) for node, failures in sorted(state.avoided(pod).items())]
    known = {"policy": policy.name, "held": _held(state, held), "avoided": avoided}
    return {"state": "pending", "why": why, **known, **explained}


def _held(state: State, held: Reservation | None) -> dict[str, Any] | None:
    """Since when room is held, and when that ends unless kube-scheduler is seen to go on or to give up; None: never."""
    if held is None or held.claimed:
        return None
    now_s = state.now_s()
    ends_in_s = None if held.expires_s is None else round(held.expires_s - now_s, 1)
    return {"node": held.node, "forSeconds": round(now_s - held.since_s, 1), "endsInSeconds": ends_in_s}
