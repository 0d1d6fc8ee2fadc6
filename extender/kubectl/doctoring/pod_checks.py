"""Checks the pods: their requests, their places, and annotations that gpupack did not write."""

from collections.abc import Iterator

from extender.contract.allocation import parse_allocation
from extender.contract.findings import Finding, Level
from extender.contract.inventory import Inventory
from extender.contract.units import ContractError
from extender.kubectl.cluster.past_admission import (
    DEFAULT_SCHEDULER,
    bypassing,
    misspelt_names,
    scheduler_of,
    schedulers,
)
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.output.texts import named
from extender.scheduling.ledger.events import PodRecord


def check_pods(view: ClusterView) -> Iterator[Finding]:
    """Every finding on pods that have not ended."""
    yield from _annotations(view)
    yield from _names(view)
    passing = bypassing(view)
    yield from _bypassing(view, passing)
    told = {record.uid for record in passing}
    nowhere, errors, invalid = [], [], []
    for record in view.gpu_pods:
        path = f"{record.namespace}/{record.name}"
        if record.ended:
            continue
        if record.node and record.footprint is None and record.request is not None and record.uid not in told:
            nowhere.append(path)
        if not record.node and record.request_error:
            invalid.append(f"{path} ({record.request_error})")
        pod = view.pods.get(record.uid)
        condition = pod.condition("PodScheduled") if pod is not None and not record.node else None
        if condition is not None and condition.status == "False" and condition.reason == "SchedulerError":
            errors.append(f"{path} ({condition.message})")
    if nowhere:
        found = f"bound without a readable allocation: {named(nowhere)}"
        advice = "a scheduler without the extender placed them, or they were bound by hand; set their schedulerName"
        yield Finding("pods", Level.WARNING, found, advice)
    if errors:
        advice = "kube-scheduler gets no answer from its extender: see the findings on the extender, and its log"
        yield Finding("pods", Level.ERROR, f"waiting because of an error: {named(errors)}", advice)
    if invalid:
        advice = "correct and create them again"
        yield Finding("pods", Level.WARNING, f"with an invalid GPU request: {named(invalid)}", advice)


def _names(view: ClusterView) -> Iterator[Finding]:
    """Names under the prefix that nobody reads."""
    found: dict[str, list[str]] = {}
    for record in view.pod_records:
        if not record.ended:
            for sentence in misspelt_names(view, record):
                found.setdefault(sentence, []).append(f"{record.namespace}/{record.name}")
    for sentence, pods in found.items():
        advice = "it has no effect: correct it where the pods are made, and create them again"
        yield Finding("names", Level.WARNING, f"{named(pods)}: {sentence}", advice)


def _bypassing(view: ClusterView, passing: list[PodRecord]) -> Iterator[Finding]:
    """Pods of schedulers that do not ask gpupack: by mistake of the default one, of another perhaps on purpose."""
    by_scheduler: dict[tuple[str, bool], list[str]] = {}
    for record in passing:
        key = scheduler_of(record), bool(record.node)
        by_scheduler.setdefault(key, []).append(f"{record.namespace}/{record.name}")
    ours = " or ".join(sorted(schedulers(view)))
    for (scheduler, placed), pods in sorted(by_scheduler.items()):
        what = "scheduled past gpupack" if placed else "wait to be scheduled past gpupack"
        level = Level.WARNING if scheduler == DEFAULT_SCHEDULER else Level.NOTE
        advice = f"create them again with schedulerName: {ours}; a pod that was placed without it may fail at admission"
        yield Finding("pods", level, f"{what}, by {scheduler}: {named(pods)}", advice)


def _annotations(view: ClusterView) -> Iterator[Finding]:
    inventories = {record.name: record.inventory for record in view.node_records}
    strays: dict[tuple[str, str], list[str]] = {}
    for record in view.pod_records:
        if not record.ended:
            for problem in _strays(view, record, inventories.get(record.node)):
                strays.setdefault(problem, []).append(f"{record.namespace}/{record.name}")
    for (what, advice), pods in strays.items():
        yield Finding("annotations", Level.WARNING, f"{what}: {named(pods)}", advice)
    if not strays:
        yield Finding("annotations", Level.OK, "no stray annotations on pods")


def _strays(view: ClusterView, record: PodRecord, inventory: Inventory | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a pod's annotations, and what to do about it."""
    asks = record.request is not None or bool(record.request_error)
    for name in (view.names.allocation_annotation, view.names.allocated_annotation):
        # The extender empties a forged report when it binds.
        written = view.pods[record.uid].metadata.annotation(name)
        if not written:
            continue
        if not record.node or not asks:
            what = "is not bound" if not record.node else "asks for no GPU"
            yield f"{name} on a pod that {what}", "gpupack did not write it and ignores it; remove it"
            continue
        try:
            allocation = parse_allocation(written)
        except ContractError as error:
            yield f"{name} cannot be read ({error})", "gpupack did not write it; create the pod again"
            continue
        if inventory is None:
            continue
        if allocation.unit_mib != inventory.unit_mib:
            yield f"{name} in units of {allocation.unit_mib} MiB", "the unit has changed since; create the pod again"
        known = {gpu.uuid for gpu in inventory.gpus}
        if any(uuid not in known for gpus in allocation.containers.values() for uuid in gpus):
            yield f"{name} names GPUs that its node does not have", "a GPU was replaced, or the annotation was forged"
