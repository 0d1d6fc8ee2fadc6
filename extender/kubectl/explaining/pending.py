"""Explains why a pod has no node, from the cluster, its scheduler's last message and what a running extender says."""

from typing import Any

from extender.contract.refusals import EVICTING, ROOM_IS_HELD, NotReady
from extender.kube.objects import PodObject
from extender.kubectl.cluster.past_admission import DEFAULT_SCHEDULER, schedulers
from extender.kubectl.cluster.surroundings import EventObject
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.advice import advice_for
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.diagnosis import Diagnosis, diagnose
from extender.kubectl.explaining.explanation import Explanation, Extender, told_of_pod
from extender.kubectl.explaining.node_verdict import Asker, asker_of
from extender.kubectl.output.gpu_rows import gpu_rows
from extender.kubectl.output.texts import counted, listed, of_units, request_text
from extender.scheduling.fitting.judging import Verdict
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord

NODES_SHOWN = 3
MOST_HELPS = 5
_HOLDS_END = "nothing: holds end when kube-scheduler binds the pods, or gives up"
_BOUND_SOON = "nothing: kube-scheduler binds it, or first waits for its volumes or its gang"


def explain_waiting(
    view: ClusterView,
    pod: PodObject,
    record: PodRecord,
    events: tuple[EventObject, ...],
    extender: Extender | None = None,
) -> Explanation:
    """Why the pod has no node, and what would help."""
    subject = f"pod {record.namespace}/{record.name}"
    message = _words_of(pod)
    early = _before_nodes(view, pod, record, message, extender)
    if record.request is None:
        cause = Cause.BAD_REQUEST if record.request_error else Cause.SCHEDULER
        why = f"{cause.text}: {record.request_error}" if record.request_error else "it asks for no GPU"
        return Explanation(
            subject, "pending", why, cause, scheduler_message=message, events=events, helps=early[1] if early else ()
        )
    asker = asker_of(view, record, record.request)
    diagnosis = diagnose(view, asker)
    cause, helps, facts = _cause(view, asker, diagnosis, message, extender) if early is None else early
    others = _other_schedulers(view, pod)
    avoided = told_of_pod(extender).get("avoided") or ()
    facts = (*facts, *others, *map(str, avoided))
    if others:
        helps = (*helps, "create it again with the schedulerName of a scheduler that asks gpupack")
    why = cause.text
    nearest = diagnosis.nearest
    if nearest is not None and cause is nearest.cause and cause is not Cause.FITS and nearest.nearest.what:
        what = nearest.nearest.what_there
        why = f"{cause.text}: {what}" if cause.text.endswith(")") else f"{cause.text} ({what})"
    if Cause.FRAGMENTED.rank <= cause.rank <= Cause.MODEL.rank:  # another request or a pod that ends may help
        helps = (*helps, *advice_for(view, asker))
    return Explanation(
        subject,
        "pending",
        why,
        cause,
        facts,
        tuple(dict.fromkeys(helps))[:MOST_HELPS],
        _asks(view, record),
        diagnosis,
        _gpus_of_nearest(view, asker, diagnosis),
        message,
        events,
        {"unitMib": view.unit_mib},
    )


Finding = tuple[Cause, tuple[str, ...], tuple[str, ...]]
"""Cause, what would help, and facts."""


def _before_nodes(
    view: ClusterView, pod: PodObject, record: PodRecord, message: str, extender: Extender | None
) -> Finding | None:
    """Causes that hold whatever the nodes are like."""
    if record.request_error:
        return Cause.BAD_REQUEST, ("correct it and create the pod again",), (record.request_error,)
    gates = [gate.name for gate in pod.spec.scheduling_gates or ()]
    if gates:
        return (
            Cause.GATED,
            (f"{listed(gates)} must be removed by the controller or person that set it",),
            (f"gates: {', '.join(gates)}",),
        )
    not_ready = str((extender or {}).get("notReady") or "")
    if any(each.text in text for each in (NotReady.LOST_CONTACT, NotReady.NOT_SYNCED) for text in (message, not_ready)):
        log = "look at the extender's log for its connection to the API server, its rights and its token"
        return (
            Cause.STALE_VIEW,
            (log, "it resumes by itself as soon as its watches work again"),
            (not_ready or message,),
        )
    condition = pod.condition("PodScheduled")
    if condition is not None and condition.status == "False" and condition.reason == "SchedulerError":
        look = "check that the extender next to kube-scheduler runs: kubectl gpupack doctor, and its log"
        if NotReady.SHUTTING_DOWN.text in message:
            look = f"another replica takes over; if not, {look}"
        return Cause.NO_EXTENDER, (look,), (message,)
    return _nominated(view, record, extender) if record.nominated_node else None


def _nominated(view: ClusterView, record: PodRecord, extender: Extender | None) -> Finding | None:
    """kube-scheduler nominates a node for a pod that others leave for it, and for one that it is about to bind.

    None where nothing tells which; then it is the latter if the pod fits.
    """
    node = record.nominated_node
    fact = f"nominated node: {node}"
    leaving = [
        f"{other.namespace}/{other.name}"
        for other in view.gpu_pods
        if other.node == node and other.terminating and not other.ended and other.priority < record.priority
    ]
    said = str(told_of_pod(extender).get("why") or "")
    if said.startswith(ROOM_IS_HELD):
        return Cause.BINDING, (_BOUND_SOON,), (fact, said)
    if not leaving and not said.startswith(EVICTING):
        return None
    facts = (fact, f"terminating there: {listed(leaving, 5)}") if leaving else (fact,)
    return Cause.PREEMPTING, (f"nothing: it is tried again when they have left {node}",), facts


def _cause(view: ClusterView, asker: Asker, diagnosis: Diagnosis, message: str, extender: Extender | None) -> Finding:
    nearest = diagnosis.nearest
    if nearest is None:
        return Cause.NO_GPUS, ("add nodes",), ("the cluster has no nodes",)
    if nearest.cause is not Cause.FITS:
        helps = tuple(nearest.helps()[:2])
        if nearest.cause is Cause.NO_GPUS:
            helps = ("label the nodes that have GPUs, and run kubectl gpupack doctor",)
        return nearest.cause, helps, _elsewhere(diagnosis)
    return _although_it_fits(view, asker, diagnosis, message, extender)


def _although_it_fits(
    view: ClusterView, asker: Asker, diagnosis: Diagnosis, message: str, extender: Extender | None
) -> Finding:
    """Counting only bound pods, it fits: what else keeps it waiting."""
    fitting = diagnosis.fitting
    places = f"counting only bound pods, it fits on {counted(len(fitting), 'node')}: {listed(fitting)}"
    known = told_of_pod(extender)
    if str(known.get("why", "")).startswith(ROOM_IS_HELD):
        return Cause.BINDING, (_BOUND_SOON,), (str(known["why"]),)
    nominated = asker.record.nominated_node
    if nominated in fitting:
        return Cause.BINDING, (_BOUND_SOON,), (f"nominated node: {nominated}",)
    held = _held_there(view, diagnosis, extender)
    if known and not known.get("reasons", {}).get("fits") and held:
        return Cause.HELD, (_HOLDS_END,), (places, f"held for {held}")
    pod = view.pods[asker.record.uid]
    condition = pod.condition("PodScheduled")
    if condition is None or condition.status != "False":
        scheduler = pod.spec.scheduler_name or "default-scheduler"
        return Cause.NOT_SEEN, (f"check that a kube-scheduler named {scheduler} runs",), (places,)
    if not _is_about_gpus(view, message):
        return Cause.SCHEDULER, ("see its last message below",), (places,)
    binding = _in_flight(view)
    if binding and extender is None:
        ask = "with --extender URL the extender itself is asked: only it knows for which pods room is held"
        return Cause.HELD, (_HOLDS_END, ask), (places, f"pods that may be on their way there: {listed(binding, 5)}")
    return (
        Cause.RETRY,
        ("nothing: the extender wakes it within seconds, kube-scheduler retries it within minutes",),
        (places,),
    )


def _other_schedulers(view: ClusterView, pod: PodObject) -> tuple[str, ...]:
    """That other schedulers ask gpupack here, and not the one that this pod names."""
    own = pod.spec.scheduler_name or DEFAULT_SCHEDULER
    ours = schedulers(view) or {other.scheduler for other in view.gpu_pods if other.node and other.scheduler}
    if not ours or own in ours:
        return ()
    return f"its schedulerName is {own}", f"pods with GPUs here are placed by {listed(sorted(ours))}"


def _held_there(view: ClusterView, diagnosis: Diagnosis, extender: Extender | None) -> str:
    rows = gpu_rows(view, extender=(extender or {}).get("nodes"))
    fitting = set(diagnosis.fitting)
    held = [
        f"{share.namespace}/{share.name} ({of_units(share.units, view.unit_mib)} of {row.node}/{row.gpu.place})"
        for row in rows
        if row.node in fitting and row.gpu is not None
        for share in row.shares
        if share.state != "bound"
    ]
    return listed(held, 5)


def _in_flight(view: ClusterView) -> list[str]:
    """Pods that no scheduler has refused and that are not bound: filter may hold room for them."""
    found = []
    for other in view.gpu_pods:
        pod = view.pods.get(other.uid)
        if other.node or other.ended or other.request is None or pod is None:
            continue
        condition = pod.condition("PodScheduled")
        if (condition is None or condition.status != "False") and not pod.spec.scheduling_gates:
            found.append(f"{other.namespace}/{other.name}")
    return found


def _is_about_gpus(view: ClusterView, message: str) -> bool:
    resources = (view.names.memory_resource, view.names.gpu_resource, view.names.core_resource)
    return any(reason.text in message for reason in Misfit) or any(
        f"Insufficient {name}" in message for name in resources
    )


def _words_of(pod: PodObject) -> str:
    condition = pod.condition("PodScheduled")
    return condition.message if condition is not None and condition.status == "False" else ""


def _elsewhere(diagnosis: Diagnosis) -> tuple[str, ...]:
    nearest = diagnosis.groups[0]
    which = f"on {listed(nearest.names, 4)}"
    if len(diagnosis.groups) == 1:
        return (which,)
    others = [f"{group.cause.text} ({len(group.verdicts):,})" for group in diagnosis.groups[1:]]
    return (f"{which}; of the other nodes: {listed(others, 4)}",)


def _asks(view: ClusterView, record: PodRecord) -> str:
    request = record.request
    if request is None:
        return ""
    models = [*request.models.accepted, *(f"!{pattern}" for pattern in request.models.refused)]
    text = request_text(request, view, core="and {}% of the compute")
    if models and not request.whole_gpus:
        text += " on GPUs" if sum(demand.gpus for demand in request.demands) > 1 else " on a GPU"
    return text + (f" matching {','.join(models)}" if models else "")


def _gpus_of_nearest(view: ClusterView, asker: Asker, diagnosis: Diagnosis) -> dict[str, list[dict[str, Any]]]:
    """GPUs of the nodes with the least in the way."""
    nearest = diagnosis.nearest
    names = [name for name in (nearest.names if nearest is not None else []) if view.snapshot.nodes[name].gpus]
    return {name: _gpus(view, asker.verdict(view.snapshot.nodes[name])) for name in names[:NODES_SHOWN]}


def _gpus(view: ClusterView, verdict: Verdict) -> list[dict[str, Any]]:
    return [
        {
            "gpu": gpu.index,
            "place": gpu.place,
            "uuid": gpu.uuid,
            "model": gpu.model,
            "memory": of_units(gpu.capacity, view.unit_mib),
            "free": of_units(gpu.free, view.unit_mib),
            "why": why or "has room",
        }
        for gpu, why in zip(verdict.node.gpus, verdict.gpu_reasons(view.unit_mib), strict=True)
    ]
