"""From a device plugin's /metrics to the memory that is really used, per GPU and pod; unknown is never 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from extender.contract.units import GpuUuid

_MIB = 1024 * 1024
PodKey = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What one device plugin measured, in MiB: in use per GPU, and in use and at most so far per pod and GPU."""

    gpus: Mapping[GpuUuid, float] = field(default_factory=dict)
    pods: Mapping[PodKey, Mapping[GpuUuid, float]] = field(default_factory=dict)
    peaks: Mapping[PodKey, Mapping[GpuUuid, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What is known of the nodes, and of the others why not."""

    nodes: Mapping[str, NodeUsage] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def of_gpu(self, node: str, uuid: GpuUuid) -> float | None:
        """MiB in use on a GPU by whomever; None when unknown."""
        known = self.nodes.get(node)
        return None if known is None else known.gpus.get(uuid)

    def of_pod(self, node: str, namespace: str, name: str) -> float | None:
        """MiB that a pod uses on all its GPUs; None when unknown."""
        known = self.nodes.get(node)
        uses = None if known is None else known.pods.get((namespace, name))
        return None if uses is None else sum(uses.values())


def parse_usage(text: str) -> NodeUsage:
    """Read an exposition.

    Raises:
        ValueError: not in Prometheus' text format.
    """
    gpus: dict[GpuUuid, float] = {}
    pods: dict[PodKey, dict[GpuUuid, float]] = {}
    peaks: dict[PodKey, dict[GpuUuid, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            uuid = GpuUuid(sample.labels.get("UUID", ""))
            size_mib = sample.value / _MIB
            if sample.name == "gpupack_gpu_memory_used_bytes":
                gpus[uuid] = size_mib
            elif sample.name == "gpupack_container_gpu_memory_used_bytes":
                _add(pods, sample.labels, uuid, size_mib)
            elif sample.name == "gpupack_container_gpu_memory_used_peak_bytes":
                _add(peaks, sample.labels, uuid, size_mib)
    return NodeUsage(gpus, pods, peaks)


def _add(sums: dict[PodKey, dict[GpuUuid, float]], labels: Mapping[str, str], uuid: GpuUuid, size_mib: float) -> None:
    of_pod = sums.setdefault((labels.get("namespace", ""), labels.get("pod", "")), {})
    of_pod[uuid] = of_pod.get(uuid, 0.0) + size_mib
