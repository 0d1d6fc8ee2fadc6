"""Checks the nodes: device plugins, inventories, cordons, units and GPUs."""

from collections.abc import Iterator

from extender.contract.cordon import CordonError, names_of, parse_cordon, unknown_in
from extender.contract.findings import Finding, Level
from extender.contract.units import UNIT_CHOICES_MIB
from extender.kubectl.cluster.components import is_ready, plugins_of, state_of
from extender.kubectl.cluster.past_admission import misspelt_on_nodes
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.output.gpu_rows import gpu_rows, is_labelled
from extender.kubectl.output.texts import counted, named, of_mib, of_units
from extender.scheduling.nodes.node import NodeRecord


def check_nodes(view: ClusterView) -> Iterator[Finding]:
    """Every finding on nodes, in the order in which parts depend on each other."""
    yield from _inventories(view)
    yield from _names(view)
    yield _units(view)
    yield from _rounding(view)
    yield from _plugins(view)
    yield from _offers(view)
    yield from _gpus(view)


def _inventories(view: ClusterView) -> Iterator[Finding]:
    names = view.names
    if not any(record.inventory is not None or record.inventory_error for record in view.node_records):
        advice = (
            f"label GPU nodes with {names.prefix}/gpu=true and look at the pods of the gpupack-device-plugin DaemonSet"
        )
        yield Finding("inventory", Level.WARNING, f"no node has the annotation {names.inventory_annotation}", advice)
    for record in view.node_records:
        where, inventory = f"node {record.name}", record.inventory
        if record.inventory_error:
            advice = "look at the log of the device plugin there; it rewrites the annotation when it starts"
            yield Finding("inventory", Level.ERROR, f"{where}: {record.inventory_error}", advice)
        elif inventory is None and record.memory_units:
            advice = "look at the log of the device plugin there, and at its right to patch nodes"
            found = f"{where} offers {names.memory_resource} but has no {names.inventory_annotation}"
            yield Finding("inventory", Level.ERROR, found, advice)
        elif inventory is not None and any(gpu.healthy for gpu in inventory.gpus) and not record.memory_units:
            advice = "the device plugin there is not serving; remove the annotation if the node no longer has GPUs"
            found = f"{where} has {names.inventory_annotation} but offers no {names.memory_resource}"
            yield Finding("inventory", Level.WARNING, found, advice)
        yield from _cordon(view, record)


def _cordon(view: ClusterView, record: NodeRecord) -> Iterator[Finding]:
    where, annotation = f"node {record.name}", view.names.cordon_annotation
    written = view.nodes[record.name].metadata.annotation(annotation)
    try:
        cordoned = parse_cordon(written or "")
    except CordonError as error:
        advice = f"write UUIDs separated by commas, or remove {annotation}"
        yield Finding("cordon", Level.ERROR, f"{where}: {error}", advice)
        return
    gpus = record.inventory.gpus if record.inventory is not None else ()
    present = [name for gpu in gpus for name in names_of(gpu.uuid, gpu.mig)]
    for uuid in unknown_in(cordoned, present):
        yield Finding("cordon", Level.WARNING, f"{where}: cordoned {uuid} is not there", "remove or correct it")
    known = sorted(cordoned.intersection(present))
    if known:
        yield Finding("cordon", Level.NOTE, f"{where}: cordoned by hand: {', '.join(known)}")


def _names(view: ClusterView) -> Iterator[Finding]:
    """Annotations under the prefix that nobody reads."""
    for sentence, nodes in misspelt_on_nodes(view).items():
        yield Finding("names", Level.WARNING, f"{named(nodes)}: {sentence}", "it has no effect: correct or remove it")


def _units(view: ClusterView) -> Finding:
    by_unit: dict[int, list[str]] = {}
    for record in view.node_records:
        if record.inventory is not None:
            by_unit.setdefault(record.inventory.unit_mib, []).append(record.name)
    if len(by_unit) > 1:
        parts = "; ".join(f"{unit} MiB on {named(nodes)}" for unit, nodes in sorted(by_unit.items()))
        advice = "give every device plugin and the extender the same --memory-unit-mib; the others are refused"
        return Finding("units", Level.ERROR, f"nodes use different memory units: {parts}", advice)
    return Finding("units", Level.OK, f"one memory unit: {next(iter(by_unit), 'none')} MiB")


def _rounding(view: ClusterView) -> Iterator[Finding]:
    """What of MIG devices is in no unit: of small ones that is much."""
    sizes = [
        (gpu.memory_mib, record.inventory.unit_mib)
        for record in view.node_records
        if record.inventory is not None
        for gpu in record.inventory.gpus
        if gpu.mig is not None
    ]
    lost_mib = sum(memory_mib % unit_mib for memory_mib, unit_mib in sizes)
    finest_mib = min(UNIT_CHOICES_MIB)
    saved_mib = lost_mib - sum(memory_mib % finest_mib for memory_mib, _ in sizes)
    if saved_mib > 0:
        advice = f"--memory-unit-mib={finest_mib} everywhere would offer {of_mib(saved_mib)} of it"
        yield Finding("units", Level.NOTE, f"{of_mib(lost_mib)} of MIG devices is in no memory unit", advice)


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
        found = f"nodes labelled as having GPUs, but without a device plugin pod: {named(labelled)}"
        advice = "look at the DaemonSet gpupack-device-plugin: its affinity, and taints of these nodes"
        yield Finding("plugin", Level.ERROR, found, advice)
    inventoried = {
        record.name for record in view.node_records if record.inventory is not None and record.inventory.gpus
    }
    orphans = sorted(inventoried - there - set(labelled))
    if orphans:
        found = f"inventories that no device plugin pod keeps up to date: {named(orphans)}"
        advice = (
            "unless a device plugin runs there in another way, label the node with "
            f"{view.names.prefix}/gpu=true or remove the annotation {view.names.inventory_annotation}"
        )
        yield Finding("plugin", Level.WARNING, found, advice)
    if plugins and not labelled and not orphans and all(map(is_ready, plugins)):
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
        advice = "it passes within seconds after a GPU has changed; if it stays, restart the device plugin there"
        found = f"the kubelet offers another number of units than the inventory has: {named(differing)}"
        yield Finding("inventory", Level.WARNING, found, advice)
    away = [name for name, info in view.snapshot.nodes.items() if info.gpus and not view.nodes[name].is_ready]
    if away:
        advice = "their inventories are not updated; look at their kubelets"
        yield Finding("inventory", Level.WARNING, f"nodes with GPUs that are not ready: {named(away)}", advice)


def _gpus(view: ClusterView) -> Iterator[Finding]:
    ill, late, over = [], [], []
    for row in gpu_rows(view):
        gpu = row.gpu
        if gpu is None:
            continue
        place = f"{row.node}/{gpu.place}"
        if row.cordoned and gpu.healthy:
            late.append(place)
        elif not gpu.healthy and not row.cordoned:
            ill.append(f"{place} ({gpu.reason or 'no reason given'})")
        if gpu.overcommitted:
            over.append(f"{place} (by {of_units(gpu.overcommitted, view.unit_mib)})")
    if over:
        advice = "kubectl gpupack top names the pods; end one of them: each may run out of memory"
        yield Finding("gpus", Level.ERROR, f"more memory is allocated than there is: {named(over)}", advice)
    if ill:
        advice = "they come back by themselves once they are healthy; docs/enforcement.md says when"
        yield Finding("gpus", Level.WARNING, f"unhealthy: {named(ill)}", advice)
    if late:
        advice = "the device plugin there does not run, or may not watch its node"
        yield Finding("cordon", Level.WARNING, f"cordoned but still on offer: {named(late)}", advice)
    if not over and not ill:
        yield Finding("gpus", Level.OK, "every GPU is healthy or cordoned, and none is overcommitted")
