"""Reads the GPU memory in use per GPU and pod from the device plugins' metrics; unknown is never 0."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from extender.contract.units import GpuUuid
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import PodObject
from extender.kubectl.cluster.components import metrics_port, plugins_of
from extender.kubectl.cluster.session import Session, segment
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import BadUsage

_MIB = 1024 * 1024
PodKey = tuple[str, str]
"""Namespace and name."""

Peaks = Mapping[PodKey, Mapping[GpuUuid, float]]
"""Per pod and GPU the most MiB that the pod has used."""

PEAK_METRIC = "gpupack_container_gpu_memory_used_peak_bytes"


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What one device plugin measured, in MiB: in use per GPU, and in use and at most so far per pod and GPU."""

    gpus: Mapping[GpuUuid, float] = field(default_factory=dict)
    pods: Mapping[PodKey, Mapping[GpuUuid, float]] = field(default_factory=dict)
    peaks: Peaks = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeasuredUsage:
    """What is known of the nodes, and of the others why not."""

    nodes: Mapping[str, NodeUsage] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def of_gpu(self, node: str, uuid: GpuUuid) -> float | None:
        """MiB in use on a GPU by any process; None when unknown."""
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
            elif sample.name == PEAK_METRIC:
                _add(peaks, sample.labels, uuid, size_mib)
    return NodeUsage(gpus, pods, peaks)


def _add(sums: dict[PodKey, dict[GpuUuid, float]], labels: Mapping[str, str], uuid: GpuUuid, size_mib: float) -> None:
    of_pod = sums.setdefault((labels.get("namespace", ""), labels.get("pod", "")), {})
    of_pod[uuid] = of_pod.get(uuid, 0.0) + size_mib


def read_peaks(files: Iterable[Path]) -> Peaks:
    """The peaks in files of Prometheus' text format, all of them together.

    Raises:
        BadUsage: a file cannot be read, or has no peaks.
    """
    found: list[NodeUsage] = []
    for file in files:
        try:
            found.append(parse_usage(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise BadUsage(f"--metrics {file}: {error}") from error
        if not found[-1].peaks:
            raise BadUsage(f"--metrics {file}: has no {PEAK_METRIC}, expected metrics of a node agent")
    return peaks_of(found)


def peaks_of(nodes: Iterable[NodeUsage]) -> Peaks:
    """The largest peak of each pod on each GPU."""
    found: dict[PodKey, dict[GpuUuid, float]] = {}
    for node in nodes:
        for pod, gpus in node.peaks.items():
            known = found.setdefault(pod, {})
            for uuid, size_mib in gpus.items():
                known[uuid] = max(size_mib, known.get(uuid, 0.0))
    return found


AT_A_TIME = 16
TIMEOUT_S = 5.0
ALL_TIMEOUT_S = 20.0
_LONGEST = 200
MOST_NODES = 200
"""Nodes asked without --used: each costs the API server a connection to the node."""


def proxied(pod: PodObject, path: str) -> str | None:
    """Where the API server passes a GET of `path` on to the pod's metrics port; None when it names none."""
    port, metadata = metrics_port(pod), pod.metadata
    if port is None:
        return None
    return f"/api/v1/namespaces/{segment(metadata.namespace)}/pods/{segment(metadata.name)}:{port}/proxy{path}"


def scrape(session: Session, view: ClusterView, nodes: Iterable[str], *, insist: bool = False) -> MeasuredUsage:
    """What the device plugins of these nodes measured.

    A node whose plugin is not found, not allowed to be asked or does not answer in time has a problem instead.
    """
    names = sorted(set(nodes))
    if len(names) > MOST_NODES and not insist:
        return MeasuredUsage(problems=dict.fromkeys(names, f"more than {MOST_NODES} nodes; --used asks them all"))
    plugins = {pod.spec.node_name: pod for pod in plugins_of(view.pods.values()) if pod.status.phase == "Running"}
    asker = _Asker(session, plugins)
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        answers = list(workers.map(asker.ask, names))
    return MeasuredUsage(
        {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, NodeUsage)},
        {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, str)},
    )


class _Asker:
    """Asks one node after the other; stops asking once an answer settles it for all of them."""

    def __init__(self, session: Session, plugins: Mapping[str, PodObject]) -> None:
        self._session = session
        self._plugins = plugins
        self._until_s = time.monotonic() + ALL_TIMEOUT_S
        self._hopeless = ""

    def ask(self, node: str) -> NodeUsage | str:
        """What its device plugin measured, or why that is not known."""
        pod = self._plugins.get(node)
        if pod is None:
            return "no running device plugin pod is there"
        path = proxied(pod, "/metrics")
        if path is None:
            return f"pod {pod.path} has no port named metrics"
        if self._hopeless or time.monotonic() > self._until_s:
            return self._hopeless or f"not asked: the others took {ALL_TIMEOUT_S:g} s"
        try:
            return parse_usage(self._session.api.read(path, TIMEOUT_S).decode("utf-8", "replace"))
        except ApiError as error:
            if error.status == 403:
                self._hopeless = f"not allowed: get pods/proxy in namespace {pod.metadata.namespace}"
                return self._hopeless
            return f"its metrics can't be read through the API server: {error.status} {error.message}"[:_LONGEST]
        except ApiUnreachable as error:
            return f"its metrics did not come in time: {error}"[:_LONGEST]
        except ValueError as error:
            return f"its metrics can't be read: {error}"[:_LONGEST]
