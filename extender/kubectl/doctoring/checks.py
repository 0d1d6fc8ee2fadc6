"""From DoctorFacts to findings: what keeps GPUs from being shared in this cluster, and what to do about each."""

from collections.abc import Iterable, Iterator

from extender.contract.findings import Finding, Level
from extender.kubectl.cluster.components import extenders_of, is_ready, plugins_of, state_of
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.doctoring.cluster_checks import check_objects
from extender.kubectl.doctoring.facts import DoctorFacts
from extender.kubectl.output.gpu_rows import GpuRow, gpu_rows, is_labelled
from extender.kubectl.output.texts import counted, listed, of_units

_MOST_NAMED = 5


def check(facts: DoctorFacts) -> list[Finding]:
    """Every finding, in the order in which parts depend on each other."""
    view = facts.view
    rows = gpu_rows(view)
    return [
        *_rights(facts),
        *_extenders(facts),
        *check_objects(facts.objects, view.names),
        *_plugins(view),
        *_offers(view),
        *_gpus(view, rows),
        *_pods(view),
        *(Finding("objects", Level.WARNING, warning, "it is not counted; correct it") for warning in view.warnings),
    ]


def _rights(facts: DoctorFacts) -> Iterator[Finding]:
    if facts.rights_problem:
        yield Finding("rbac", Level.NOTE, f"rights of gpupack's service accounts are not known: {facts.rights_problem}")
    for account, denied in facts.denied.items():
        if denied:
            what = ", ".join(f"{verb} {resource}" for verb, resource in denied)
            advice = "apply the manifests of this version again"
            yield Finding("rbac", Level.ERROR, f"{account} is not allowed: {what}", advice)
        else:
            yield Finding("rbac", Level.OK, f"{account} has every right that it needs")


def _extenders(facts: DoctorFacts) -> Iterator[Finding]:
    view = facts.view
    if facts.asked_problem:
        yield Finding("extender", Level.ERROR, facts.asked_problem, "look at its log, and at the URL in --extender")
    elif facts.asked_extender is not None:
        unit = facts.asked_extender.get("unitMib")
        if unit != view.unit_mib:
            found = f"the extender counts in units of {unit} MiB, the nodes in {view.unit_mib} MiB"
            yield Finding("extender", Level.ERROR, found, "give both the same --memory-unit-mib")
        else:
            yield Finding("extender", Level.OK, "the extender of --extender is ready")
    pods = extenders_of(view.pods.values())
    if not pods and facts.asked_extender is None and not facts.asked_problem:
        advice = "apply one of manifests/overlays; of an extender that is no pod ask with --extender URL"
        yield Finding("extender", Level.WARNING, "no pod with the scheduler extender was found", advice)
    for pod in pods:
        health = facts.extender_health.get(pod.path)
        if not is_ready(pod):
            advice = f"kubectl -n {pod.metadata.namespace} describe pod {pod.metadata.name}, and its log"
            # A standby that is not ready harms nobody while another one is.
            level = Level.WARNING if any(is_ready(other) for other in pods) else Level.ERROR
            yield Finding("extender", level, f"pod {pod.path} is {state_of(pod)}", advice)
        elif health:
            advice = "look at its log; with a NetworkPolicy of your own, let the API server reach the port metrics"
            yield Finding("extender", Level.WARNING, f"pod {pod.path}: {health}", advice)
        else:
            asked = "" if health is not None else " (by its kubelet; it names no metrics port to ask)"
            yield Finding("extender", Level.OK, f"pod {pod.path} is ready{asked}")


def _plugins(view: ClusterView) -> Iterator[Finding]:
    plugins = plugins_of(view.pods.values())
    there = {pod.spec.node_name for pod in plugins}
    for pod in plugins:
        if not is_ready(pod):
            advice = f"kubectl -n {pod.metadata.namespace} logs {pod.metadata.name}, or describe it"
            found = f"node {pod.spec.node_name}: device plugin {pod.path} is {state_of(pod)}"
            yield Finding("plugin", Level.ERROR, found, advice)
    labelled = [name for name, node in view.nodes.items() if is_labelled(view, node) and name not in there]
    if labelled:
        found = f"nodes labelled as having GPUs, but without a device plugin pod: {_named(labelled)}"
        advice = "look at the DaemonSet gpupack-device-plugin: its affinity, and taints of these nodes"
        yield Finding("plugin", Level.ERROR, found, advice)
    inventoried = [
        record.name
        for record in view.node_records
        if record.inventory is not None and record.inventory.gpus and record.name not in there
    ]
    orphans = sorted(set(inventoried) - set(labelled))
    if orphans:
        found = f"inventories that no device plugin pod keeps up to date: {_named(orphans)}"
        advice = (
            "if no device plugin runs there in another way, label the node with "
            f"{view.names.prefix}/gpu=true or remove the annotation {view.names.inventory_annotation}"
        )
        yield Finding("plugin", Level.WARNING, found, advice)
    if plugins and not labelled and not orphans and all(is_ready(pod) for pod in plugins):
        yield Finding("plugin", Level.OK, f"{counted(len(plugins), 'device plugin')} ready, one on each node with GPUs")


def _offers(view: ClusterView) -> Iterator[Finding]:
    """Whether each kubelet offers what the inventory says; an old inventory or an old registration differs."""
    differing = []
    for record in view.node_records:
        inventory = record.inventory
        if inventory is None or not record.memory_units:
            continue
        healthy = sum(inventory.units_of(gpu) for gpu in inventory.gpus if gpu.healthy)
        if healthy != record.memory_units:
            differing.append(f"{record.name} ({record.memory_units} offered, {healthy} in the inventory)")
    if differing:
        advice = "it passes within seconds when a GPU just changed; if it stays, restart the device plugin there"
        found = f"the kubelet offers another number of units than the inventory has: {_named(differing)}"
        yield Finding("inventory", Level.WARNING, found, advice)
    away = [name for name, node in view.nodes.items() if not node.is_ready and _has_gpus(view, name)]
    if away:
        advice = "nobody updates their inventories; look at their kubelets"
        yield Finding("inventory", Level.WARNING, f"nodes with GPUs that are not ready: {_named(away)}", advice)


def _has_gpus(view: ClusterView, name: str) -> bool:
    node = view.snapshot.nodes.get(name)
    return node is not None and bool(node.gpus)


def _gpus(view: ClusterView, rows: Iterable[GpuRow]) -> Iterator[Finding]:
    ill, late, over = [], [], []
    for row in rows:
        gpu = row.gpu
        if gpu is None:
            continue
        place = f"{row.node}/{gpu.index}"
        if row.cordoned and gpu.healthy:
            late.append(place)
        elif not gpu.healthy and not row.cordoned:
            ill.append(f"{place} ({gpu.reason or 'no reason given'})")
        if gpu.overcommitted:
            over.append(f"{place} (by {of_units(gpu.overcommitted, view.unit_mib)})")
    if over:
        advice = "kubectl gpupack top names the pods; end one of them: each may run out of memory"
        yield Finding("gpus", Level.ERROR, f"more memory is given out than there is: {_named(over)}", advice)
    if ill:
        advice = "they come back by themselves once they are well; docs/enforcement.md says when"
        yield Finding("gpus", Level.WARNING, f"unhealthy: {_named(ill)}", advice)
    if late:
        advice = "the device plugin there does not run, or may not watch its node"
        yield Finding("cordon", Level.WARNING, f"cordoned but still on offer: {_named(late)}", advice)
    if not over and not ill:
        yield Finding("gpus", Level.OK, "every GPU is healthy or cordoned, and none is overcommitted")


def _pods(view: ClusterView) -> Iterator[Finding]:
    nowhere, errors, senseless = [], [], []
    for record in view.gpu_pods:
        path = f"{record.namespace}/{record.name}"
        if record.ended:
            continue
        if record.node and record.footprint is None and record.request is not None:
            nowhere.append(path)
        if not record.node and record.request_error:
            senseless.append(f"{path} ({record.request_error})")
        pod = view.pods.get(record.uid)
        condition = pod.condition("PodScheduled") if pod is not None and not record.node else None
        if condition is not None and condition.status == "False" and condition.reason == "SchedulerError":
            errors.append(f"{path} ({condition.message})")
    if nowhere:
        found = f"bound without an allocation that can be read: {_named(nowhere)}"
        advice = "a scheduler without the extender placed them, or somebody by hand; set their schedulerName"
        yield Finding("pods", Level.WARNING, found, advice)
    if errors:
        advice = "kube-scheduler gets no answer from its extender: see the findings on the extender, and its log"
        yield Finding("pods", Level.ERROR, f"waiting because of an error: {_named(errors)}", advice)
    if senseless:
        advice = "correct and create them anew"
        yield Finding("pods", Level.WARNING, f"asking for what has no meaning: {_named(senseless)}", advice)


def _named(what: list[str]) -> str:
    return listed(sorted(what), _MOST_NAMED)
