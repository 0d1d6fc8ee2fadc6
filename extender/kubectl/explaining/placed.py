"""Explains why a bound or ended pod is where it is, and what its Events tell of the decision."""

from collections.abc import Collection
from typing import Any

from extender.kube.objects import PodObject
from extender.kubectl.cluster.past_admission import bypassing, scheduler_of
from extender.kubectl.cluster.surroundings import EventObject
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.explanation import Explanation, told_of_pod
from extender.kubectl.output.texts import listed, of_units, request_text
from extender.scheduling.fitting.describing import gpus_of
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.charging import charged_gpus
from extender.scheduling.nodes.node import NodeInfo

_PLACED = "GpupackPlaced"
_NORMAL = "PodInitializing"


def explain_placed(
    view: ClusterView, pod: PodObject, record: PodRecord, events: tuple[EventObject, ...], extender: Any = None
) -> Explanation:
    """Where it is and why there."""
    status = pod.status
    facts = [event.message for event in events if event.reason == _PLACED][-1:]
    if record.placed_at:
        facts.append(f"decided at {record.placed_at}")
    if status.reason or status.message:
        facts.append(f"its kubelet says {status.reason}: {status.message}".rstrip(": "))
    facts += _not_running(pod)
    node = view.snapshot.nodes.get(record.node)
    gpus = list(gpus_of(record.footprint, node)) if record.footprint is not None else []
    if node is not None and not record.ended:
        facts += _ill(node, {gpu["uuid"] for gpu in gpus})
        facts += _too_few(record, len(gpus))
    details = {
        "unitMib": view.unit_mib,
        "node": record.node,
        "policy": record.policy,
        "placedAt": record.placed_at,
        "allocated": [dict(gpu) for gpu in gpus],
        "decision": told_of_pod(extender).get("decision"),
    }
    rows = [
        {
            "gpu": "?" if gpu["index"] is None else gpu["index"],
            "place": gpu["place"] or "?",
            "uuid": gpu["uuid"],
            "model": gpu["model"] or "no longer on the node",
            "holds": "all of it" if gpu["whole"] else of_units(gpu["units"], view.unit_mib),
        }
        for gpu in gpus
    ]
    asks = request_text(record.request, view, core="and {}% of the compute") if record.request is not None else ""
    return Explanation(
        f"pod {record.namespace}/{record.name}",
        "ended" if record.ended else "bound",
        _why(view, record, ended=record.ended),
        facts=tuple(facts),
        asks=asks,
        gpus={record.node: rows} if rows and not record.ended else None,
        events=tuple(event for event in events if event.reason != _PLACED),
        details=details,
    )


def _ill(node: NodeInfo, uuids: Collection[str]) -> list[str]:
    """Which of its GPUs are out of service: the kubelet shows devices in use as healthy whatever their GPU is."""
    return [
        f"GPU {gpu.place} is unhealthy ({gpu.reason or 'no reason given'}): it runs on there, and nothing new is placed"
        for gpu in node.gpus
        if gpu.uuid in uuids and not gpu.healthy
    ]


def _too_few(record: PodRecord, gpus: int) -> list[str]:
    """That its memory is on fewer GPUs than it asks for, as after an outage under an older device plugin."""
    wanted = record.request.gpu_count if record.request is not None else 1
    if not 0 < gpus < wanted:
        return []
    return [f"its memory is on {gpus} of {wanted} GPUs (gpu-count): delete it, so that it is placed anew"]


def _not_running(pod: PodObject) -> list[str]:
    """What keeps its containers from running, as the kubelet says it."""
    statuses = [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]
    return [
        f"container {each.name} does not run yet: {each.state.waiting.reason}: {each.state.waiting.message}".rstrip(
            ": "
        )
        for each in statuses
        if each.state is not None and each.state.waiting is not None and each.state.waiting.reason != _NORMAL
    ]


def _why(view: ClusterView, record: PodRecord, *, ended: bool) -> str:
    if ended:
        return "it no longer holds anything"
    if record.request is None:
        return f"on {record.node}; it asks for no GPU"
    if record.request_error:
        return f"on {record.node}, although its request is invalid: {record.request_error}"
    past = any(other.uid == record.uid for other in bypassing(view))
    by = f"placed past gpupack by {scheduler_of(record)}" if past else ""
    if record.footprint is None:
        how = by or "bound without an allocation that can be read (by hand, or by a scheduler without the extender)"
        charged = f"it is charged to the emptiest GPU{_charged(view, record)} until the device plugin reports"
        return f"on {record.node}, {how}; {charged}"
    if by:
        return f"on {record.node}, {by}; its device plugin has reported on which GPU it is"
    return f"on {record.node}, chosen by policy {record.policy}" if record.policy else f"on {record.node}"


def _charged(view: ClusterView, record: PodRecord) -> str:
    node = view.snapshot.nodes.get(record.node)
    gpus = charged_gpus(node, record.uid, view.unit_mib) if node is not None else ()
    return f" ({listed(list(gpus))})" if gpus else ""
