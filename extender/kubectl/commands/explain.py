"""`kubectl gpupack explain`: explains why a pod waits, why it is where it is, or why a workload has no pods."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from extender.kube.objects import DecodeError, PodObject
from extender.kubectl.cluster.past_admission import misspelt_names
from extender.kubectl.cluster.session import Session, segment
from extender.kubectl.cluster.surroundings import EventObject, OwnerObject, read_event, read_owner
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.explanation import Explanation, explained
from extender.kubectl.explaining.owners import KINDS, SHORT, Maker, explain_missing, failures_of, misplaced_on
from extender.kubectl.explaining.pending import explain_waiting
from extender.kubectl.explaining.placed import explain_placed
from extender.kubectl.options import BadUsage, No, Options, Unreachable, common_options
from extender.kubectl.output.answer import Answer
from extender.kubectl.running import run
from extender.scheduling.ledger.events import PodRecord

_OURS = "Gpupack"


@click.command()
@common_options
@click.argument("name")
def command(options: Options, *, name: str) -> None:
    """Explain why a pod waits or is where it is.

    For a pod that waits it also says what would help. NAME is a pod or a workload: deployment/web, job/train, rs/...,
    sts/..., or just its name. Of several pods the first one that waits is explained.
    """

    def question(session: Session) -> Answer:
        return explained(_explain(session, name))

    run(options, question)


def _explain(session: Session, name: str) -> Explanation:
    kind, bare = _kind_of(name)
    namespace = session.namespace()
    view = session.view()
    record = view.find(namespace, bare) if kind in ("", "pod") else None
    if record is None and kind == "pod":
        raise No(f"pod {namespace}/{bare}: not found")
    if record is not None:
        return _of_pod(session, view, record)
    makers = _makers(session, namespace, kind, bare)
    names = {bare, *(maker.object.metadata.name for maker in makers)}
    records = _pods_of(view, namespace, names, {maker.object.metadata.uid for maker in makers})
    waiting = [pod for pod in records if not pod.node and not pod.ended]
    if waiting:
        return _of_pod(session, view, waiting[0], makers, more=len(waiting) - 1)
    events = [event for each in sorted(names) for event in _events(session, namespace, f"involvedObject.name={each}")]
    failures = failures_of(makers, events)
    if not makers and not failures and not records:
        raise No(f'no pod or workload named "{bare}" in namespace {namespace}')
    if failures or not records:
        subject = makers[0].path if makers else f"{namespace}/{bare}"
        return explain_missing(subject, failures, events)
    return _of_pod(session, view, records[0], makers, more=len(records) - 1)


def _kind_of(name: str) -> tuple[str, str]:
    kind, slash, bare = name.rpartition("/")
    if not slash:
        return "", name
    kind = kind.lower().removesuffix("s") if kind.lower() not in SHORT else SHORT[kind.lower()]
    kind = {"po": "pod"}.get(kind, kind)
    if (kind != "pod" and kind not in KINDS) or not bare:
        raise BadUsage(f"{name!r}: expected POD, or one of {', '.join(f'{each}/NAME' for each in ('pod', *KINDS))}")
    return kind, bare


def _of_pod(
    session: Session, view: ClusterView, record: PodRecord, makers: Sequence[Maker] = (), *, more: int = 0
) -> Explanation:
    pod = view.pods[record.uid]
    events = tuple(
        event
        for event in _events(session, record.namespace, f"involvedObject.uid={record.uid}")
        if event.reason.startswith(_OURS)
    )
    extender = _extender(session, record)
    explain = explain_placed if record.node or record.ended else explain_waiting
    explanation = explain(view, pod, record, events, extender)
    ignored = (*misspelt_names(view, record), *misplaced_on(makers, view.names, pod))
    explanation = replace(explanation, facts=(*ignored, *explanation.facts))
    if more:
        text = f"{more} more of its pods {'wait' if not record.node else 'are there'}; this is one of them"
        explanation = replace(explanation, facts=(*explanation.facts, text))
    return explanation


def _extender(session: Session, record: PodRecord) -> dict[str, Any] | None:
    """What a running extender says; None when none is to be asked."""
    if not session.options.extender:
        return None
    try:
        session.ask_extender("/readyz", as_text=True)
        not_ready = ""
    except Unreachable as error:
        not_ready = error.format_message()
    path = f"/v1/explain/{segment(record.namespace)}/{segment(record.name)}?limit=0"
    return {
        "notReady": not_ready,
        "explain": session.ask_extender(path),
        "nodes": session.ask_extender("/v1/nodes"),
    }


def _events(session: Session, namespace: str, selector: str) -> list[EventObject]:
    """Events of one object, oldest first; without the right to list them there are none."""
    path = f"/api/v1/namespaces/{segment(namespace)}/events?fieldSelector={segment(selector)}"
    try:
        return sorted(session.objects(path, read_event), key=lambda event: event.at)
    except Unreachable:
        return []


def _makers(session: Session, namespace: str, kind: str, name: str) -> list[Maker]:
    """The object of that name, of that kind or any, and the ReplicaSets or Jobs that it made."""
    found: list[Maker] = []
    for each in (kind,) if kind else KINDS:
        title, api, plural = KINDS[each]
        raw = session.read(f"/{api}/namespaces/{segment(namespace)}/{plural}/{segment(name)}")
        if raw is None:
            continue
        found.append(Maker(title, _owner(raw)))
        children = {"deployment": "replicaset", "cronjob": "job"}.get(each)
        if children is not None:
            found += _children(session, namespace, children, found[-1].object.metadata.uid)
    return found


def _children(session: Session, namespace: str, kind: str, uid: str) -> list[Maker]:
    title, api, plural = KINDS[kind]
    owned = session.objects(f"/{api}/namespaces/{segment(namespace)}/{plural}", read_owner)
    return [
        Maker(title, each) for each in owned if any(owner.uid == uid for owner in each.metadata.owner_references or ())
    ]


def _owner(raw: bytes) -> OwnerObject:
    try:
        return read_owner(raw)
    except DecodeError as error:
        raise Unreachable(str(error)) from error


def _pods_of(view: ClusterView, namespace: str, names: set[str], uids: set[str]) -> list[PodRecord]:
    """Pods that ask for GPUs, or try to, and that one of these owns; of an unknown kind, by the owner's name."""

    def is_owned(pod: PodObject | None) -> bool:
        owners = (pod.metadata.owner_references if pod is not None else None) or ()
        return any(owner.uid in uids or owner.name in names for owner in owners)

    asking = {pod.uid for pod in view.gpu_pods}
    owned = [pod for pod in view.pod_records if pod.namespace == namespace and is_owned(view.pods.get(pod.uid))]
    found = [pod for pod in owned if pod.uid in asking or misspelt_names(view, pod)]
    return sorted(found, key=lambda pod: (pod.name, pod.uid))
