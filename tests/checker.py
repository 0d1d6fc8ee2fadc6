"""Watches a cluster for a GPU that is given out twice.

Two views of the usage are kept. `actual` holds what the device plugins reported (`allocated`) and must never exceed
a GPU. `believed` holds for each pod the report, or else the plan (`allocation`); it must not exceed a GPU either,
unless a report differs from its plan on that node: two pods of one size may have swapped GPUs, and until the second
one reports, the sum counts one of them twice.
Nodes and pods come on two watches, so a GPU that is not known yet is only judged at the end.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.simulated.client import ClusterClient, UnreachableError
from bench.simulated.informer import Informer
from bench.simulated.pod_demand import combine, containers_in_order
from bench.simulated.starting import Startable
from extender.contract.allocation import Allocation, parse_allocation
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from extender.contract.quantity import parse_digits, parse_quantity
from extender.contract.units import ContractError, GpuUuid

Body = Mapping[str, Any]
_DONE = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach: its kind, the node and pod, and the numbers in words."""

    kind: str
    node: str
    pod: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Holding:
    """What one pod has on each GPU of its node, in units; `planned` by the extender, `actual` by the plugin."""

    pod: str
    node: str
    planned: Mapping[str, int]
    actual: Mapping[str, int] | None

    @property
    def believed(self) -> Mapping[str, int]:
        return self.planned if self.actual is None else self.actual

    @property
    def swapped(self) -> bool:
        return self.actual is not None and bool(self.planned) and self.actual != self.planned


@dataclass(slots=True)
class UsageCheck:
    """The state of one cluster as a watcher sees it, and what was wrong so far.

    Args:
        names: resource and annotation names.
    """

    names: Names = field(default_factory=Names)
    violations: list[Violation] = field(default_factory=list)
    _capacity: dict[str, dict[str, int]] = field(default_factory=dict)
    _judged: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    _named: set[tuple[str, str, str]] = field(default_factory=set)
    _holdings: dict[str, _Holding] = field(default_factory=dict)
    _by_node: dict[str, set[str]] = field(default_factory=dict)

    def set_node(self, node: Body) -> None:
        """Take over a node's inventory."""
        name = node["metadata"]["name"]
        text = (node["metadata"].get("annotations") or {}).get(self.names.inventory_annotation)
        if text is None:
            return
        try:
            inventory = parse_inventory(text)
        except ContractError as error:
            self._found("unreadable inventory", name, "", str(error))
            return
        # GPUs that the node no longer has stay known: events of pods that had them may still come.
        known = self._capacity.setdefault(name, {})
        known.update({gpu.uuid: inventory.units_of(gpu) for gpu in inventory.gpus})

    def set_pod(self, pod: Body) -> None:
        """Take over a pod and check it, and the GPUs that it has something on."""
        uid = pod["metadata"]["uid"]
        node = pod["spec"].get("nodeName") or ""
        self._drop(uid)
        if not node or (pod.get("status") or {}).get("phase") in _DONE or not any(self._wanted(pod)):
            return
        annotations = pod["metadata"].get("annotations") or {}
        texts = (annotations.get(self.names.allocation_annotation), annotations.get(self.names.allocated_annotation))
        judged, self._judged[uid] = self._judged.get(uid, (None, None)), texts
        planned = self._read(pod, node, texts[0], actual=False, judge=texts[0] != judged[0])
        actual = self._read(pod, node, texts[1], actual=True, judge=texts[1] != judged[1])
        label = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
        self._holdings[uid] = _Holding(label, node, planned or {}, actual)
        self._by_node.setdefault(node, set()).add(uid)
        self._check_node(node, self._holdings[uid])

    def remove_pod(self, uid: str) -> None:
        """A pod is gone."""
        self._drop(uid)
        self._judged.pop(uid, None)

    def _drop(self, uid: str) -> None:
        holding = self._holdings.pop(uid, None)
        if holding is not None:
            self._by_node[holding.node].discard(uid)

    def usage(self, node: str) -> dict[str, int]:
        """Units in use on each GPU of a node, as believed."""
        return self._sums(node, actual=False)

    def settle(self) -> list[Violation]:
        """Check every node as it is now, when no swap is under way; returns all violations so far."""
        for node in self._by_node:
            self._compare(node, self._sums(node, actual=False), "over capacity at the end", "")
        for node, pod, uuid in sorted(self._named):
            if uuid not in self._capacity.get(node, {}):
                self._found("unknown GPU", node, pod, f"{uuid} is not one that the node ever had")
        self._named.clear()
        return self.violations

    def _wanted(self, pod: Body) -> Iterator[tuple[str, bool, int, int]]:
        """Containers that ask for GPUs: name, whether a plain init container, memory units, whole GPUs."""
        for container, plain_init in containers_in_order(pod["spec"]):
            limits = (container.get("resources") or {}).get("limits") or {}
            units = parse_quantity(str(limits.get(self.names.memory_resource, 0)))
            whole = parse_quantity(str(limits.get(self.names.gpu_resource, 0)))
            if units or whole:
                yield container["name"], plain_init, units, whole

    def _read(self, pod: Body, node: str, text: str | None, *, actual: bool, judge: bool) -> dict[str, int] | None:
        """Units per GPU of the pod by one annotation, after a check of it against the pod's spec."""
        if text is None:
            return None
        name = pod["metadata"]["name"]
        try:
            allocation = parse_allocation(text)
        except ContractError as error:
            if judge:
                self._found("unreadable allocation", node, name, str(error))
            return None
        if judge:
            self._named.update((node, name, uuid) for gpus in allocation.containers.values() for uuid in gpus)
            for detail in self._mismatches(pod, node, allocation, actual=actual):
                self._found("reported" if actual else "planned", node, name, detail)
        given: dict[str, dict[str, int]] = {
            container: {str(uuid): int(units) for uuid, units in gpus.items()}
            for container, gpus in allocation.containers.items()
        }
        return combine(pod["spec"], lambda container: given.get(container["name"], {}))

    def _mismatches(self, pod: Body, node: str, allocation: Allocation, *, actual: bool) -> Iterator[str]:
        text = (pod["metadata"].get("annotations") or {}).get(self.names.count_annotation, "1")
        number = parse_digits(text)
        count = 1 if number is None else number
        capacity = self._capacity.get(node, {})
        for name, plain_init, units, whole in self._wanted(pod):
            given = allocation.containers.get(name, {})
            if actual and plain_init and not given:
                # podresources does not list plain init containers.
                continue
            if whole:
                yield from _whole_mismatches(name, given, whole, capacity)
            elif sum(given.values()) != units:
                yield f"container {name} has {sum(given.values())} units, asked for {units}"
            elif len(given) != count or max(given.values()) - min(given.values()) > 1:
                yield f"container {name} is spread over {dict(given)}, asked for {count} GPUs evenly"

    def _check_node(self, node: str, cause: _Holding) -> None:
        self._compare(node, self._sums(node, actual=True), "over capacity", cause.pod, only=cause.believed)
        if not any(self._holdings[uid].swapped for uid in self._by_node[node]):
            believed = self._sums(node, actual=False)
            self._compare(node, believed, "planned over capacity", cause.pod, only=cause.believed)

    def _sums(self, node: str, *, actual: bool) -> dict[str, int]:
        sums: dict[str, int] = {}
        for uid in self._by_node.get(node, ()):
            holding = self._holdings[uid]
            for uuid, units in ((holding.actual or {}) if actual else holding.believed).items():
                sums[uuid] = sums.get(uuid, 0) + units
        return sums

    def _compare(
        self, node: str, sums: Mapping[str, int], kind: str, pod: str, *, only: Mapping[str, int] | None = None
    ) -> None:
        capacity = self._capacity.get(node)
        if capacity is None:
            return
        for uuid in sums if only is None else only:
            if uuid in capacity and sums.get(uuid, 0) > capacity[uuid]:
                self._found(kind, node, pod, f"{uuid} has {sums[uuid]} units in use of {capacity[uuid]}")

    def _found(self, kind: str, node: str, pod: str, detail: str) -> None:
        self.violations.append(Violation(kind, node, pod, detail))


def _whole_mismatches(
    name: str, given: Mapping[GpuUuid, int], whole: int, capacity: Mapping[str, int]
) -> Iterator[str]:
    if len(given) != whole:
        yield f"container {name} has {len(given)} GPUs, asked for {whole} whole ones"
    for uuid, units in given.items():
        if capacity.get(uuid, units) != units:
            yield f"container {name} has {units} of the {capacity[uuid]} units of {uuid}, asked for the whole GPU"


class Checker(Startable):
    """Follows pods and nodes on watches of its own and checks after every event; a context manager.

    Args:
        client: how to reach the API server, simulated or real.
        names: resource and annotation names.
    """

    def __init__(self, client: ClusterClient, names: Names | None = None) -> None:
        self._check = UsageCheck(names or Names())
        self._lock = threading.Lock()
        self._bound: set[str] = set()
        self._nodes = Informer(client, "/api/v1/nodes", self._node_changed)
        self._pods = Informer(client, "/api/v1/pods", self._pod_changed)

    def start(self) -> None:
        """Begin to follow.

        Raises:
            UnreachableError: the API server gives no lists.
        """
        # Nodes first: a pod can only be judged by the GPUs of its node.
        for informer in (self._nodes, self._pods):
            informer.start()
            if not informer.wait_synced():
                raise UnreachableError("checker: no list of nodes and pods within 30 s")

    def stop(self) -> None:
        """Stop following."""
        self._nodes.stop()
        self._pods.stop()

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What was wrong so far."""
        with self._lock:
            return tuple(self._check.violations)

    def settle(self) -> tuple[Violation, ...]:
        """What was wrong so far, and what is wrong once nothing is under way."""
        with self._lock:
            return tuple(self._check.settle())

    def bound(self) -> int:
        """How many pods were seen with a node, deleted ones included."""
        with self._lock:
            return len(self._bound)

    def usage(self, node: str) -> dict[str, int]:
        """Units in use on each GPU of a node."""
        with self._lock:
            return self._check.usage(node)

    def _node_changed(self, kind: str, node: Body) -> None:
        with self._lock:
            if kind != "DELETED":
                self._check.set_node(node)

    def _pod_changed(self, kind: str, pod: Body) -> None:
        with self._lock:
            if pod["spec"].get("nodeName"):
                self._bound.add(pod["metadata"]["uid"])
            if kind == "DELETED":
                self._check.remove_pod(pod["metadata"]["uid"])
            else:
                self._check.set_pod(pod)
