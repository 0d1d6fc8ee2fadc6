"""Lists the GPUs of a cluster: a row for each GPU, or for each node that should have GPUs and shows none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from extender.contract.cordon import CordonError, names_of, parse_cordon
from extender.contract.units import GpuUuid
from extender.kube.objects import NodeObject
from extender.kubectl.cluster.usage import MeasuredUsage
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.output.texts import natural
from extender.scheduling.fitting.describing import describe_node
from extender.scheduling.nodes.node import GpuInfo, NodeInfo
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns

GPU_LABELS: Mapping[str, str | None] = {
    "nvidia.com/gpu.present": "true",
    "feature.node.kubernetes.io/pci-10de.present": "true",
    "feature.node.kubernetes.io/pci-0302_10de.present": "true",
    "feature.node.kubernetes.io/pci-0300_10de.present": "true",
    "cloud.google.com/gke-accelerator": None,
    "k8s.amazonaws.com/accelerator": None,
}
"""Labels of other programs for nodes with GPUs, and the value that counts, None for any; as in the DaemonSet."""


@dataclass(frozen=True, slots=True)
class PodShare:
    """What one pod holds on a GPU; `state` is bound, assumed or held; only of a bound one `whole` is known."""

    namespace: str
    name: str
    units: int
    state: str = "bound"
    whole: bool = False


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU of one node; without `gpu` the node stands there for a problem of its own.

    `problem` keeps the whole node out of use. `shares` are what pods hold, the largest first; those that are only held
    and `held_units` are known from a running extender alone. Unknown amounts are None; `used_problem` says why.
    """

    node: str
    gpu: GpuInfo | None = None
    problem: str = ""
    cordoned: bool = False
    shares: tuple[PodShare, ...] = ()
    held_units: int | None = None
    used_mib: float | None = None
    used_problem: str = ""

    def with_usage(self, usage: MeasuredUsage) -> "GpuRow":
        """The row with what was measured."""
        if self.gpu is None:
            return self
        problem = usage.problems.get(self.node, "")
        used_mib = usage.of_gpu(self.node, self.gpu.uuid)
        if used_mib is None and not problem:
            problem = "its device plugin measures no memory of this GPU"
        return replace(self, used_mib=used_mib, used_problem=problem)


def gpu_rows(
    view: ClusterView,
    *,
    node_pattern: str = "",
    models: ModelPatterns = ANY_MODEL,
    extender: Mapping[str, Any] | None = None,
) -> list[GpuRow]:
    """Rows by node name and GPU index.

    `node_pattern` is a shell pattern of node names; `models` other than any leaves out nodes that show no GPU;
    `extender` is what a running extender says at `/v1/nodes`, None when none was asked.
    """
    held = _held(extender)
    rows: list[GpuRow] = []
    for name in sorted(view.snapshot.nodes, key=natural):
        if node_pattern and not fnmatchcase(name, node_pattern):
            continue
        node = view.snapshot.nodes[name]
        problem = problem_of(view, node)
        cordoned = cordoned_on(view, node)
        if not node.gpus and problem and models is ANY_MODEL:
            rows.append(GpuRow(name, problem=problem))
        rows.extend(
            GpuRow(
                name,
                gpu,
                problem,
                gpu.uuid in cordoned,
                (*_shares(node, gpu), *held.get(gpu.uuid, ())),
                None if extender is None else sum(share.units for share in held.get(gpu.uuid, ())),
            )
            for gpu in node.gpus
            if models.match(gpu.model)
        )
    return rows


def problem_of(view: ClusterView, node: NodeInfo) -> str:
    """What keeps all GPUs of a node out of use; empty for nothing, and for a node that has no GPUs and claims none."""
    record = node.record
    if record.inventory is None:
        if record.inventory_error:
            return f"its inventory can't be read: {record.inventory_error}"
        if record.memory_units or record.whole_gpus:
            return "no inventory"
        return "no device plugin" if is_labelled(view, view.nodes.get(node.name)) else ""
    if not record.inventory.gpus or (node.unit_matches and (record.memory_units or record.whole_gpus)):
        return ""  # it works, or has lost its last GPU and correctly offers none
    problem: str = describe_node(node)["problem"]
    return problem


def is_labelled(view: ClusterView, node: NodeObject | None) -> bool:
    """Whether the node is labelled as having GPUs, so that a device plugin should run there."""
    labels = (node.metadata.labels if node is not None else None) or {}
    own = labels.get(f"{view.names.prefix}/gpu")
    if own in ("true", "false"):
        return own == "true"
    return any(key in labels and value in (None, labels[key]) for key, value in GPU_LABELS.items())


def cordons_on(view: ClusterView, name: str) -> frozenset[GpuUuid]:
    """What is written as cordoned on a node; nothing where that can't be read (the doctor says so)."""
    node = view.nodes.get(name)
    text = node.metadata.annotation(view.names.cordon_annotation) if node is not None else None
    try:
        return parse_cordon(text or "")
    except CordonError:
        return frozenset()


def cordoned_on(view: ClusterView, info: NodeInfo) -> frozenset[GpuUuid]:
    """GPUs of the node that an admin took out by hand, with all MIG devices of those."""
    cordoned = cordons_on(view, info.name)
    return frozenset(gpu.uuid for gpu in info.gpus if not cordoned.isdisjoint(names_of(gpu.uuid, gpu.mig)))


def _shares(node: NodeInfo, gpu: GpuInfo) -> list[PodShare]:
    found: list[PodShare] = []
    for holder in node.holders:
        if holder.footprint is None:
            continue
        whole = gpu.uuid in holder.footprint.whole
        units = gpu.capacity if whole else holder.footprint.shares.get(gpu.uuid, 0)
        if units:
            found.append(PodShare(holder.namespace, holder.name, units, whole=whole))
    return sorted(found, key=lambda share: (-share.units, share.namespace, share.name))


def _held(extender: Mapping[str, Any] | None) -> dict[str, list[PodShare]]:
    """Per GPU what a running extender holds for pods that are not bound."""
    found: dict[str, list[PodShare]] = {}
    for node in (extender or {}).get("nodes", ()):
        for gpu in node["gpus"]:
            for holder in gpu["holders"]:
                if holder["state"] != "bound":
                    share = PodShare(holder["namespace"], holder["name"], holder["units"], holder["state"])
                    found.setdefault(gpu["uuid"], []).append(share)
    return found
