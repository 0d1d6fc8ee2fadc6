"""`kubectl gpupack pods`: shows the pods that ask for GPUs, where they are, and why they wait."""

import re
from collections.abc import Sequence
from typing import Any

import click

from extender.kube.objects import PodObject
from extender.kubectl.cluster.session import Session
from extender.kubectl.cluster.usage import MeasuredUsage, scrape
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import Options, common_options
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import UNKNOWN, counted, natural, of_mib, request_text
from extender.kubectl.running import run
from extender.scheduling.fitting.describing import describe_request, gpus_of
from extender.scheduling.ledger.events import PodRecord

_LONGEST_REASON = 90
_PREEMPTION = re.compile(r"\.? (no new claims to deallocate, )?preemption: .*", re.DOTALL)
"""kube-scheduler appends this about preemption."""


@click.command()
@common_options
@click.option("--node", default="", help="Only pods of this node.")
@click.option("--pending", is_flag=True, help="Only pods that wait for a node.")
@click.option("--used/--no-used", default=None, help="Ask every device plugin for memory in use, or none.")
def command(options: Options, *, node: str, pending: bool, used: bool | None) -> None:
    """Show pods that ask for GPUs.

    Says where they are, what they hold and use, or why they wait. USED is measured by the device plugins and read
    through the API server; where it is not known it is "-".
    """

    def question(session: Session) -> Answer:
        view = session.view()
        namespace = None if node else session.namespaces()
        pods = [
            pod
            for pod in view.gpu_pods
            if namespace in (None, pod.namespace)
            and (not node or pod.node == node)
            and (not pending or (not pod.node and not pod.ended))
        ]
        nodes = {pod.node for pod in pods if pod.node and not pod.ended}
        usage = MeasuredUsage() if used is False else scrape(session, view, nodes, insist=bool(used))
        return pods_answer(view, pods, usage, pending=pending)

    run(options, question)


def pods_answer(view: ClusterView, pods: Sequence[PodRecord], usage: MeasuredUsage, *, pending: bool = False) -> Answer:
    """The pods by namespace and name; `pending` says that only those that wait were wanted."""
    ordered = sorted(pods, key=lambda pod: (pod.namespace, natural(pod.name), pod.uid))
    columns = (
        Column("namespace"),
        Column("name"),
        Column("phase"),
        Column("node"),
        Column("gpus"),
        Column("requested", right=True),
        Column("used", right=True),
        Column("why it waits"),
        Column("policy", wide=True),
        Column("placed at", wide=True),
        Column("why used is unknown", wide=True),
    )
    table = Table(columns, tuple(_row(view, pod, usage) for pod in ordered))
    waiting = sum(_waits(pod) for pod in ordered)
    summary = counted(len(ordered), "pod") + (f", {waiting} pending" if waiting else "")
    none = "no pods are waiting for GPUs" if pending else "no pods that ask for GPUs"
    body: list[Table | Line] = [table, Line(), Line(summary)] if ordered else [Line(none)]
    if waiting:
        body.append(Line("kubectl gpupack explain NAME says what would help", Tone.FAINT))
    return Answer([_document(view, pod, usage) for pod in ordered], tuple(body))


def _row(view: ClusterView, pod: PodRecord, usage: MeasuredUsage) -> tuple[str | Cell, ...]:
    used_mib = usage.of_pod(pod.node, pod.namespace, pod.name) if pod.node else None
    problem = usage.problems.get(pod.node, "") if pod.node and used_mib is None else ""
    reason = _why_waiting(view, pod)
    short = reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"
    phase = view.pods[pod.uid].status.phase if pod.uid in view.pods else ""
    return (
        pod.namespace,
        pod.name,
        Cell(phase or UNKNOWN, Tone.CAREFUL if phase == "Pending" else Tone.BAD if phase == "Failed" else Tone.PLAIN),
        pod.node or UNKNOWN,
        ", ".join(_gpus(view, pod)) or UNKNOWN,
        request_text(pod.request, view),
        of_mib(used_mib),
        Cell(short, Tone.CAREFUL),
        pod.policy or UNKNOWN,
        pod.placed_at or UNKNOWN,
        problem,
    )


def _gpus(view: ClusterView, pod: PodRecord) -> list[str]:
    if pod.footprint is None or pod.ended:
        return []
    found = gpus_of(pod.footprint, view.snapshot.nodes.get(pod.node))
    return [str(gpu["place"] or gpu["uuid"]) for gpu in found]


def _waits(pod: PodRecord) -> bool:
    return not pod.node and not pod.ended


def _why_waiting(view: ClusterView, pod: PodRecord) -> str:
    if not _waits(pod):
        return ""
    return pod.request_error or _scheduler_message(view.pods.get(pod.uid))


def _scheduler_message(pod: PodObject | None) -> str:
    """The last message of its scheduler, without the node count before and preemption after it."""
    if pod is None:
        return ""
    condition = pod.condition("PodScheduled")
    if pod.status.nominated_node_name and condition is None:
        return f"about to be bound to {pod.status.nominated_node_name}"
    if condition is None or condition.status != "False":
        return f"{pod.spec.scheduler_name or 'its scheduler'} has not looked at it yet"
    text = _PREEMPTION.sub("", condition.message)
    return text.partition("nodes are available: ")[2] or text or condition.reason


def _document(view: ClusterView, pod: PodRecord, usage: MeasuredUsage) -> dict[str, Any]:
    used_mib = usage.of_pod(pod.node, pod.namespace, pod.name) if pod.node else None
    phase = view.pods[pod.uid].status.phase if pod.uid in view.pods else ""
    placed = pod.footprint is not None and not pod.ended
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "phase": phase,
        "node": pod.node,
        "unitMib": view.unit_mib,
        "request": describe_request(pod.request) if pod.request is not None else None,
        "requestError": pod.request_error,
        "gpus": [dict(gpu) for gpu in gpus_of(pod.footprint, view.snapshot.nodes.get(pod.node))]
        if placed and pod.footprint is not None
        else [],
        "usedMib": None if used_mib is None else round(used_mib, 2),
        "whyItWaits": _why_waiting(view, pod),
        "policy": pod.policy,
        "placedAt": pod.placed_at,
    }
