"""From a pending pod, the cluster, and what its scheduler and a running extender say to why it really waits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from extender.contract.units import UnitMib
from extender.kube.objects import EventObject, PodObject
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.diagnosis import Diagnosis, diagnose
from extender.kubectl.explaining.explanation import Explanation
from extender.kubectl.explaining.node_verdict import Asker, gpus_explained, rules_against
from extender.kubectl.output.gpu_rows import gpu_rows
from extender.kubectl.output.texts import counted, listed, of_units, request_text
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import Holder, NodeInfo, node_info
from extender.scheduling.pods.models import ANY_MODEL, RequestError
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.table import DEFAULT_POLICY, policy_named

NODES_TRIED = 40
"""Nodes with the largest holes that are looked at closely."""

_COUNTS = range(2, 9)


def advice_for(view: ClusterView, asker: Asker) -> list[str]:
    """What would make the pod fit somewhere, the least change first; empty when nothing found is simple."""
    nodes = [
        info
        for name, info in view.snapshot.nodes.items()
        if info.gpus and not rules_against(asker.pod, asker.record, view.nodes[name], info)
    ]
    nodes.sort(key=lambda info: (-max(info.free, default=0), info.name))
    near = nodes[:NODES_TRIED]
    return [
        *_spread(view.unit_mib, asker, near),
        *_smaller(view.unit_mib, asker, near),
        *_other_model(view, asker, nodes),
        *_leaving(view.unit_mib, asker, near),
    ]


def _fits(asker: Asker, request: PodRequest, nodes: Iterable[NodeInfo]) -> list[str]:
    return [info.name for info in nodes if isinstance(fit(info, request, asker.policy), Fit)]


def _changed(
    asker: Asker, containers: Sequence[ContainerRequest] | None = None, *, gpu_count: int | None = None
) -> PodRequest | None:
    request = asker.request
    try:
        return pod_request(
            tuple(request.containers if containers is None else containers),
            gpu_count=request.gpu_count if gpu_count is None else gpu_count,
            models=request.models,
            policy=request.policy,
            cpu_milli=request.cpu_milli,
            memory_bytes=request.memory_bytes,
        )
    except RequestError:
        return None  # that many GPUs do not divide it


def _spread(unit_mib: UnitMib, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    request = asker.request
    if not request.memory_units or request.whole_gpus:
        return
    for count in _COUNTS:
        if count <= request.gpu_count:
            continue
        spread = _changed(asker, gpu_count=count)
        places = _fits(asker, spread, nodes) if spread is not None else []
        if spread is not None and places:
            each = of_units(max(demand.units for demand in spread.demands), unit_mib)
            yield (
                f'gpu-count: "{count}" ({each} on each of {count} GPUs) fits now on {listed(places)}, '
                "if the program can use several GPUs"
            )
            return


def _smaller(unit_mib: UnitMib, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    """The largest request that would fit now, for pods of one container."""
    request = asker.request
    if len(request.containers) != 1 or not request.memory_units:
        return
    container, step = request.containers[0], request.gpu_count
    low, high, places = 0, container.memory_units // step, list[str]()
    while high - low > 1:
        middle = (low + high) // 2
        asked = _changed(asker, [replace(container, memory_units=middle * step)])
        found = _fits(asker, asked, nodes) if asked is not None else []
        if found:
            low, places = middle, found
        else:
            high = middle
    if low:
        yield f"a request of at most {of_units(low * step, unit_mib)} fits now, on {listed(places)}"


def _other_model(view: ClusterView, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    if asker.request.models == ANY_MODEL:
        return
    places = _fits(asker, replace(asker.request, models=ANY_MODEL), nodes)
    if places:
        models = sorted({gpu.model for name in places for gpu in view.snapshot.nodes[name].gpus})
        yield (
            f"without the annotation {view.names.model_annotation} it fits on {counted(len(places), 'node')} "
            f"with {listed(models)}"
        )
        return
    there = sorted({gpu.model for info in view.snapshot.nodes.values() for gpu in info.gpus})
    if not any(asker.request.models.match(model) for model in there):
        yield f"the cluster's models are {listed(there, 8)}; {view.names.model_annotation} accepts none of them"


def _leaving(unit_mib: UnitMib, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    """The smallest pod whose end alone would make room."""
    found: list[tuple[int, str, Holder]] = []
    for info in nodes:
        for holder in info.holders:
            if holder.request is None or holder.footprint is None:
                continue
            others = [other for other in info.holders if other.uid != holder.uid]
            without = node_info(info.record, others, unit_mib=unit_mib, before=info)
            if isinstance(fit(without, asker.request, asker.policy), Fit):
                shares = holder.footprint.shares
                whole = [gpu.capacity for gpu in info.gpus if gpu.uuid in holder.footprint.whole]
                found.append((sum(shares.values()) + sum(whole), info.name, holder))
    if not found:
        return
    units, name, holder = min(found, key=lambda each: (each[0], each[1], each[2].namespace, each[2].name))
    more = len(found) - 1
    also = "" if not more else ", or one other pod" if more == 1 else f", or any of {more:,} other pods"
    yield f"there is room when {holder.namespace}/{holder.name} ({of_units(units, unit_mib)} on {name}) ends{also}"


NODES_SHOWN = 3
MOST_HELPS = 5
_TOUCH_LOST = ("has lost touch with the API server", "has not read the cluster yet")
_SHUTTING_DOWN = "is shutting down"
_WAIT_FOR_ROOM = (Cause.FRAGMENTED, Cause.FULL, Cause.NOT_IDLE, Cause.NO_CORE, Cause.MODEL, Cause.TOO_LARGE)

Said = Mapping[str, Any]
"""What a running extender says: `explain` of the pod, `nodes`, and `notReady` where it is not."""


def explain_waiting(
    view: ClusterView, pod: PodObject, record: PodRecord, events: tuple[EventObject, ...], extender: Said | None = None
) -> Explanation:
    """Why the pod has no node, and what would help."""
    subject = f"pod {record.namespace}/{record.name}"
    said = _words_of(pod)
    early = _before_nodes(view, pod, record, said, extender)
    if record.request is None:
        cause = Cause.BAD_REQUEST if record.request_error else Cause.SCHEDULER
        why = f"{cause.text}: {record.request_error}" if record.request_error else "it asks for no GPU"
        return Explanation(subject, "pending", why, cause, said=said, events=events, helps=early[1] if early else ())
    asker = Asker(pod, record, record.request, policy_named(record.request.policy or DEFAULT_POLICY))
    diagnosis = diagnose(view, asker)
    cause, helps, facts = _cause(view, asker, diagnosis, said, extender) if early is None else early
    why = cause.text
    nearest = diagnosis.nearest
    if nearest is not None and cause is nearest.cause and cause is not Cause.FITS and nearest.nearest.what:
        why = f"{cause.text} ({nearest.nearest.what})"
    if cause in _WAIT_FOR_ROOM:
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
        said,
        events,
        {"unitMib": view.unit_mib},
    )


Finding = tuple[Cause, tuple[str, ...], tuple[str, ...]]
"""Cause, what would help, and facts."""


def _before_nodes(
    view: ClusterView, pod: PodObject, record: PodRecord, said: str, extender: Said | None
) -> Finding | None:
    """Causes that hold whatever the nodes are like."""
    if record.request_error:
        return Cause.BAD_REQUEST, ("correct it and create the pod anew",), (record.request_error,)
    gates = [gate.name for gate in pod.spec.scheduling_gates or ()]
    if gates:
        return Cause.GATED, (f"whoever set {listed(gates)} has to remove it",), (f"gates: {', '.join(gates)}",)
    not_ready = str((extender or {}).get("notReady") or "")
    if any(words in text for words in _TOUCH_LOST for text in (said, not_ready)):
        log = "look at the extender's log: its connection to the API server, its rights and its token"
        return Cause.STALE_VIEW, (log, "it goes on by itself as soon as its watches are back"), (not_ready or said,)
    condition = pod.condition("PodScheduled")
    if condition is not None and condition.status == "False" and condition.reason == "SchedulerError":
        look = "look whether the extender beside kube-scheduler runs: kubectl gpupack doctor, and its log"
        if _SHUTTING_DOWN in said:
            look = f"another one takes over; if not, {look}"
        return Cause.NO_EXTENDER, (look,), (said,)
    if record.nominated_node:
        fact = f"nominated node: {record.nominated_node}"
        return Cause.PREEMPTING, (f"nothing: it is tried again when they have left {record.nominated_node}",), (fact,)
    del view
    return None


def _cause(view: ClusterView, asker: Asker, diagnosis: Diagnosis, said: str, extender: Said | None) -> Finding:
    nearest = diagnosis.nearest
    if nearest is None:
        return Cause.NO_GPUS, ("add nodes",), ("the cluster has no nodes",)
    if nearest.cause is not Cause.FITS:
        helps = tuple(nearest.helps()[:2])
        if nearest.cause is Cause.NO_GPUS:
            helps = ("label the nodes that have GPUs, and look with kubectl gpupack doctor",)
        return nearest.cause, helps, _elsewhere(diagnosis)
    return _although_it_fits(view, asker, diagnosis, said, extender)


def _although_it_fits(
    view: ClusterView, asker: Asker, diagnosis: Diagnosis, said: str, extender: Said | None
) -> Finding:
    """By what is bound it fits: what else keeps it waiting."""
    places = f"by what is bound it fits on {counted(len(diagnosis.fitting), 'node')}: {listed(diagnosis.fitting)}"
    known = (extender or {}).get("explain") or {}
    if str(known.get("why", "")).startswith("room is held for it"):
        return Cause.BINDING, ("nothing: wait some seconds",), (str(known["why"]),)
    held = _held_there(view, diagnosis, extender)
    if known and not known.get("reasons", {}).get("fits") and held:
        return Cause.HELD, ("nothing: holds end with the bind, or after some seconds",), (places, f"held for {held}")
    condition = asker.pod.condition("PodScheduled")
    if condition is None or condition.status != "False":
        scheduler = asker.pod.spec.scheduler_name or "default-scheduler"
        others = sorted({pod.scheduler for pod in view.gpu_pods if pod.node and pod.scheduler} - {scheduler})
        facts = [places, f"its schedulerName is {scheduler}"]
        if others:
            facts.append(f"pods with GPUs here are placed by {listed(others)}")
        return Cause.NOT_SEEN, (f"look whether a kube-scheduler of the name {scheduler} runs",), tuple(facts)
    if not _is_about_gpus(view, said):
        return Cause.SCHEDULER, ("see what it said last",), (places,)
    binding = _in_flight(view, asker.record)
    if binding and extender is None:
        helps = (
            "nothing: holds end with the bind, or after some seconds",
            "--extender URL asks the extender itself, which alone knows for whom room is held",
        )
        return Cause.HELD, helps, (places, f"pods that may be on their way there: {listed(binding, 5)}")
    return Cause.RETRY, ("nothing: the extender wakes it within seconds, kube-scheduler within minutes",), (places,)


def _held_there(view: ClusterView, diagnosis: Diagnosis, extender: Said | None) -> str:
    rows = gpu_rows(view, extender=(extender or {}).get("nodes"))
    fitting = set(diagnosis.fitting)
    held = [
        f"{share.namespace}/{share.name} ({of_units(share.units, view.unit_mib)} of {row.node}/{row.gpu.index})"
        for row in rows
        if row.node in fitting and row.gpu is not None
        for share in row.shares
        if share.state != "bound"
    ]
    return listed(held, 5)


def _in_flight(view: ClusterView, record: PodRecord) -> list[str]:
    """Pods that no scheduler has refused and that are not bound: filter may hold room for them."""
    found = []
    for other in view.gpu_pods:
        pod = view.pods.get(other.uid)
        if other.uid == record.uid or other.node or other.ended or other.request is None or pod is None:
            continue
        condition = pod.condition("PodScheduled")
        if (condition is None or condition.status != "False") and not pod.spec.scheduling_gates:
            found.append(f"{other.namespace}/{other.name}")
    return found


def _is_about_gpus(view: ClusterView, said: str) -> bool:
    resources = (view.names.memory_resource, view.names.gpu_resource, view.names.core_resource)
    return any(reason.text in said for reason in Misfit) or any(f"Insufficient {name}" in said for name in resources)


def _words_of(pod: PodObject) -> str:
    condition = pod.condition("PodScheduled")
    return condition.message if condition is not None and condition.status == "False" else ""


def _elsewhere(diagnosis: Diagnosis) -> tuple[str, ...]:
    nearest = diagnosis.groups[0]
    which = f"on {listed(nearest.names, 4)}"
    if len(diagnosis.groups) == 1:
        return (which,)
    others = [f"{len(group.verdicts):,} {group.cause.text}" for group in diagnosis.groups[1:]]
    return (f"{which}; of the other nodes: {listed(others, 4)}",)


def _asks(view: ClusterView, record: PodRecord) -> str:
    request = record.request
    if request is None:
        return ""
    models = [*request.models.accepted, *(f"!{pattern}" for pattern in request.models.refused)]
    return request_text(request, view) + (f" of GPUs {','.join(models)}" if models else "")


def _gpus_of_nearest(view: ClusterView, asker: Asker, diagnosis: Diagnosis) -> dict[str, list[dict[str, Any]]]:
    """GPUs of the nodes with the least in the way."""
    nearest = diagnosis.nearest
    names = [name for name in (nearest.names if nearest is not None else []) if view.snapshot.nodes[name].gpus]
    return {
        name: [
            {
                "gpu": gpu["index"],
                "uuid": gpu["uuid"],
                "model": gpu["model"],
                "memory": of_units(gpu["capacity"], view.unit_mib),
                "free": of_units(gpu["free"], view.unit_mib),
                "why": gpu["why"] or "has room",
            }
            for gpu in gpus_explained(view, asker, view.snapshot.nodes[name])
        ]
        for name in names[:NODES_SHOWN]
    }
