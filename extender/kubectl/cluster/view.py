"""Computes the ledger as the extender would, from lists of Node and Pod objects.

Holds and assumptions of a running extender are missing: the API shows nothing of them before the Binding.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, UNIT_CHOICES_MIB, UnitMib
from extender.decoding.decoder import Decoder
from extender.kube.listing import name_of
from extender.kube.objects import DecodeError, Metadata, NodeObject, PodObject, read_node, read_pod
from extender.kubectl.cluster.components import extenders_of, options_given
from extender.scheduling.ledger.events import NodesListed, PodRecord, PodsListed
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.nodes.snapshot import Snapshot

_UNIT_FLAG = "--memory-unit-mib"
_UNIT_VARIABLE = "GPUPACK_MEMORY_UNIT_MIB"
LEFT_OUT = " is left out: "


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster at one moment.

    `unit_from` says how the unit is known, `taken_at` (with a time zone) when the lists were asked for, `warnings` what
    could not be read and is not counted. Nodes are by name, pods by UID.
    """

    names: Names
    unit_mib: UnitMib
    unit_from: str
    taken_at: datetime
    nodes: Mapping[str, NodeObject] = field(default_factory=dict)
    pods: Mapping[str, PodObject] = field(default_factory=dict)
    node_records: tuple[NodeRecord, ...] = ()
    pod_records: tuple[PodRecord, ...] = ()
    snapshot: Snapshot = field(default_factory=lambda: Snapshot({}))
    warnings: tuple[str, ...] = ()

    def ledger(self) -> Ledger:
        """A ledger of this moment of the caller's own, to assume and forget in."""
        return _ledger(self.node_records, self.pod_records, self.unit_mib)

    @property
    def gpu_pods(self) -> list[PodRecord]:
        """Pods that ask for GPUs, including invalid requests, by namespace and name."""
        asking = [pod for pod in self.pod_records if pod.request is not None or pod.request_error]
        return sorted(asking, key=lambda pod: (pod.namespace, pod.name, pod.uid))

    def find(self, namespace: str, name: str) -> PodRecord | None:
        """The pod of that name, whatever it asks for."""
        return next((pod for pod in self.pod_records if pod.name == name and pod.namespace == namespace), None)


def view_of(
    nodes: Iterable[bytes],
    pods: Iterable[bytes],
    *,
    names: Names,
    taken_at: datetime,
    unit_mib: UnitMib | None = None,
) -> ClusterView:
    """The view of these objects' JSON.

    `unit_mib` None takes the unit that the extender's pod is started with, else the one of most GPUs. An object that
    cannot be read is left out, with a warning.
    """
    warnings: list[str] = []
    node_jsons, pod_jsons = list(nodes), list(pods)
    node_objects = readable(node_jsons, read_node, warnings)
    pod_objects = readable(pod_jsons, read_pod, warnings)
    # Which nodes there are, with any unit: inventories are read before the unit is known.
    decoder = Decoder(names, unit_mib or DEFAULT_UNIT_MIB, warnings.append)
    node_records = readable(node_jsons, decoder.node, warnings)
    unit, unit_from = (unit_mib, "--memory-unit-mib") if unit_mib else _unit(node_records, pod_objects)
    if unit != decoder.unit_mib:
        decoder = Decoder(names, unit, warnings.append)
    pod_records = readable(pod_jsons, decoder.pod, warnings)
    return ClusterView(
        names=names,
        unit_mib=unit,
        unit_from=unit_from,
        taken_at=taken_at,
        # What the ledger counts has an object, if only by its name.
        nodes={node.name: NodeObject(Metadata(node.name)) for node in node_records}
        | {node.metadata.name: node for node in node_objects},
        pods={pod.uid: PodObject(Metadata(pod.name, pod.namespace, pod.uid)) for pod in pod_records}
        | {pod.metadata.uid: pod for pod in pod_objects},
        node_records=tuple(node_records),
        pod_records=tuple(pod_records),
        snapshot=_ledger(node_records, pod_records, unit).snapshot(),
        # An object is read twice, for the ledger and for people, and mentioned once.
        warnings=tuple({warning.partition(LEFT_OUT)[0]: warning for warning in warnings}.values()),
    )


Read = TypeVar("Read")


def readable(jsons: Iterable[bytes], read: Callable[[bytes], Read], warnings: list[str]) -> list[Read]:
    """What can be read of some objects; a warning for each that cannot."""
    found: list[Read] = []
    for raw in jsons:
        try:
            found.append(read(raw))
        except DecodeError as error:
            warnings.append(f"{name_of(raw)}{LEFT_OUT}{error}")
    return found


def _unit(nodes: Iterable[NodeRecord], pods: Iterable[PodObject]) -> tuple[UnitMib, str]:
    """The installation's unit, and how that is known."""
    for pod in extenders_of(pods):
        for container in pod.spec.containers:
            given = options_given(container, _UNIT_FLAG, _UNIT_VARIABLE) if container.name == "extender" else []
            if given and given[-1] in map(str, UNIT_CHOICES_MIB):
                return UnitMib(int(given[-1])), f"settings of pod {pod.path}"
    gpus = Counter[UnitMib]()
    for node in nodes:
        if node.inventory is not None:
            gpus[node.inventory.unit_mib] += len(node.inventory.gpus)
    if not gpus:
        return DEFAULT_UNIT_MIB, "default"
    unit = max(gpus, key=lambda one: (gpus[one], one == DEFAULT_UNIT_MIB, one))
    return unit, "inventories of the nodes" if len(gpus) == 1 else "inventory of most GPUs"


def _ledger(nodes: Iterable[NodeRecord], pods: Iterable[PodRecord], unit_mib: UnitMib) -> Ledger:
    nodes, pods = tuple(nodes), tuple(pods)
    ledger = Ledger(unit_mib)
    ledger.apply(NodesListed(nodes, max((node.resource_version for node in nodes), default=0)))
    ledger.apply(PodsListed(pods, max((pod.resource_version for pod in pods), default=0)))
    return ledger
