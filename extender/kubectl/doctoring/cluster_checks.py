"""From what the API server said to findings: rights, scheduler configuration, units of the nodes, annotations."""

from collections.abc import Iterator, Mapping
from typing import Any

from extender.contract.allocation import parse_allocation
from extender.contract.cordon import CordonError, parse_cordon, unknown_in
from extender.contract.findings import ClusterFacts, Finding, Level, NodeObject, PodObject
from extender.contract.inventory import Inventory, parse_inventory
from extender.contract.names import Names
from extender.contract.units import ContractError

_MOST_NAMED = 5


def check_cluster(facts: ClusterFacts, names: Names) -> list[Finding]:
    """Every finding; only that it cannot be asked when the API server cannot."""
    if facts.problem:
        advice = "check --kubeconfig, or the service account and the network of this pod"
        return [Finding("api server", Level.ERROR, facts.problem, advice)]
    return [_rights(facts), *check_objects(facts, names)]


def check_objects(facts: ClusterFacts, names: Names) -> list[Finding]:
    """The findings about scheduler configurations, nodes and pods."""
    inventories = _inventories(facts)
    return [
        *_schedulers(facts, names),
        *_nodes(facts, inventories, names),
        _units(inventories),
        *_pods(facts, inventories, names),
    ]


def _rights(facts: ClusterFacts) -> Finding:
    if facts.rights_problem:
        return Finding("rbac", Level.WARNING, f"rights are not known: {facts.rights_problem}")
    if facts.denied:
        advice = "apply manifests/base/device-plugin-rbac.yaml; this was asked with the identity that the doctor has"
        return Finding("rbac", Level.ERROR, f"not allowed: {', '.join(facts.denied)}", advice)
    return Finding("rbac", Level.OK, "every right that the plugin needs is there")


def _schedulers(facts: ClusterFacts, names: Names) -> Iterator[Finding]:
    if facts.schedulers_problem:
        yield Finding("scheduler", Level.NOTE, f"no configuration can be read: {facts.schedulers_problem}")
        return
    ours = {
        where: [entry for entry in config.get("extenders") or [] if _manages(entry, names.memory_resource)]
        for where, config in facts.schedulers.items()
    }
    if not any(ours.values()):
        advice = (
            "apply one of manifests/overlays; a configuration in a file of the control plane is not seen from here: "
            "give it with --scheduler-config"
        )
        found = f"no KubeSchedulerConfiguration with an extender for {names.memory_resource} was found"
        yield Finding("scheduler", Level.WARNING, found, advice)
    for where, entries in ours.items():
        for entry in entries:
            yield from _scheduler(where, facts.schedulers[where], entry, names)


def _manages(entry: Mapping[str, Any], resource: str) -> bool:
    return any(each.get("name") == resource for each in entry.get("managedResources") or [])


def _scheduler(where: str, config: Mapping[str, Any], entry: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    problems: list[tuple[Level, str, str]] = []
    if not _manages(entry, names.gpu_resource):
        what = f"managedResources lacks {names.gpu_resource}"
        problems.append((Level.ERROR, what, "add it: pods for whole GPUs would bypass the extender"))
    if not _manages(entry, names.core_resource):
        what = f"managedResources lacks {names.core_resource}"
        problems.append((Level.WARNING, what, "add it: the extender would not be asked where pods that want it fit"))
    if any(each.get("ignoredByScheduler") for each in entry["managedResources"]):
        problems.append(
            (Level.ERROR, "ignoredByScheduler is true", "set it to false: preemption and node totals need it")
        )
    if entry.get("ignorable"):
        problems.append(
            (Level.ERROR, "ignorable is true", "set it to false: pods would be placed without the extender")
        )
    if not entry.get("nodeCacheCapable"):
        problems.append((Level.WARNING, "nodeCacheCapable is not true", "set it: whole Node objects are sent else"))
    missing = [verb for verb in ("filterVerb", "bindVerb") if not entry.get(verb)]
    problems += [(Level.ERROR, f"{verb} is not set", f"set it to {verb.removesuffix('Verb')}") for verb in missing]
    if config.get("percentageOfNodesToScore") != 100:
        advice = "set it to 100: else the extender sees only some nodes and the best GPU may be on another"
        problems.append((Level.WARNING, "percentageOfNodesToScore is not 100", advice))
    for level, what, advice in problems:
        yield Finding("scheduler", level, f"{where}: {what}", advice)
    if not problems:
        yield Finding("scheduler", Level.OK, f"{where}: the extender is configured as it should be")


def _inventories(facts: ClusterFacts) -> dict[str, Inventory | str]:
    """Inventory, or what is wrong with it, of every node that has one."""
    found: dict[str, Inventory | str] = {}
    for node in facts.nodes:
        if node.inventory is not None:
            try:
                found[node.name] = parse_inventory(node.inventory)
            except ContractError as error:
                found[node.name] = str(error)
    return found


def _nodes(facts: ClusterFacts, inventories: Mapping[str, Inventory | str], names: Names) -> Iterator[Finding]:
    if not inventories:
        advice = "label GPU nodes with gpupack.io/gpu=true and look at the pods of the gpupack-device-plugin DaemonSet"
        yield Finding("inventory", Level.WARNING, f"no node has the annotation {names.inventory_annotation}", advice)
    for node in facts.nodes:
        yield from _node(node, inventories.get(node.name), names)


def _node(node: NodeObject, inventory: Inventory | str | None, names: Names) -> Iterator[Finding]:
    if isinstance(inventory, str):
        advice = "look at the log of the device plugin there; it writes the annotation anew when it starts"
        yield Finding("inventory", Level.ERROR, f"node {node.name}: {inventory}", advice)
    elif inventory is None and node.memory_units:
        advice = "look at the log of the device plugin there, and at its right to patch nodes"
        found = f"node {node.name} offers {names.memory_resource} but has no {names.inventory_annotation}"
        yield Finding("inventory", Level.ERROR, found, advice)
    elif inventory is not None and inventory.gpus and not node.memory_units:
        advice = "the device plugin there does not serve; remove the annotation if the node has no GPUs any more"
        found = f"node {node.name} has {names.inventory_annotation} but offers no {names.memory_resource}"
        yield Finding("inventory", Level.WARNING, found, advice)
    if node.cordon is not None:
        yield from _cordon(node, inventory, names)


def _cordon(node: NodeObject, inventory: Inventory | str | None, names: Names) -> Iterator[Finding]:
    try:
        cordoned = parse_cordon(node.cordon or "")
    except CordonError as error:
        advice = f"write UUIDs with commas between, or remove {names.cordon_annotation}"
        yield Finding("cordon", Level.ERROR, f"node {node.name}: {error}", advice)
        return
    present = [gpu.uuid for gpu in inventory.gpus] if isinstance(inventory, Inventory) else []
    for uuid in unknown_in(cordoned, present):
        yield Finding(
            "cordon", Level.WARNING, f"node {node.name}: cordoned {uuid} is not there", "remove or correct it"
        )
    known = sorted(cordoned.intersection(present))
    if known:
        yield Finding("cordon", Level.NOTE, f"node {node.name}: cordoned by hand: {', '.join(known)}")


def _units(inventories: Mapping[str, Inventory | str]) -> Finding:
    by_unit: dict[int, list[str]] = {}
    for name, inventory in inventories.items():
        if isinstance(inventory, Inventory):
            by_unit.setdefault(inventory.unit_mib, []).append(name)
    if len(by_unit) > 1:
        parts = "; ".join(f"{unit} MiB on {_named(nodes)}" for unit, nodes in sorted(by_unit.items()))
        advice = "give every device plugin and the extender the same --memory-unit-mib; the others are refused"
        return Finding("units", Level.ERROR, f"nodes use different memory units: {parts}", advice)
    return Finding("units", Level.OK, f"one memory unit: {next(iter(by_unit), 'none')} MiB")


def _pods(facts: ClusterFacts, inventories: Mapping[str, Inventory | str], names: Names) -> Iterator[Finding]:
    strays: dict[tuple[str, str], list[str]] = {}
    for pod in facts.pods:
        for problem in _strays(pod, inventories.get(pod.node), names):
            strays.setdefault(problem, []).append(pod.path)
    for (what, advice), pods in strays.items():
        yield Finding("annotations", Level.WARNING, f"{what}: {_named(pods)}", advice)
    if not strays:
        yield Finding("annotations", Level.OK, "no stray annotations on pods")


def _strays(pod: PodObject, inventory: Inventory | str | None, names: Names) -> Iterator[tuple[str, str]]:
    if pod.ended:
        return
    for name, written in ((names.allocation_annotation, pod.allocation), (names.allocated_annotation, pod.allocated)):
        if written is None:
            continue
        if not pod.node or not pod.asks:
            what = "is not bound" if not pod.node else "asks for no GPU"
            yield f"{name} on a pod that {what}", "somebody else wrote it; it is not believed, remove it"
            continue
        try:
            allocation = parse_allocation(written)
        except ContractError as error:
            yield f"{name} cannot be read ({error})", "somebody else wrote it; create the pod anew"
            continue
        if not isinstance(inventory, Inventory):
            continue
        if allocation.unit_mib != inventory.unit_mib:
            yield f"{name} in units of {allocation.unit_mib} MiB", "the unit was changed since; create the pod anew"
        known = {gpu.uuid for gpu in inventory.gpus}
        if any(uuid not in known for gpus in allocation.containers.values() for uuid in gpus):
            yield f"{name} names GPUs that its node has not", "the GPU was replaced, or the annotation forged"


def _named(what: list[str]) -> str:
    more = len(what) - _MOST_NAMED
    return ", ".join(sorted(what)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
