"""From metrics of node agents to the most GPU memory that each pod has used, from files or from a scrape."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from extender.contract.units import GpuUuid
from extender.kubectl.failures import BadUsage
from extender.kubectl.usage import PodKey, Usage, parse_usage

PEAK_METRIC = "gpupack_container_gpu_memory_used_peak_bytes"

Peaks = Mapping[PodKey, Mapping[GpuUuid, float]]
"""MiB that a pod has used at most, per GPU."""


def read_peaks(files: Sequence[Path]) -> Peaks:
    """The peaks in files of Prometheus' text format, all of them together.

    Raises:
        BadUsage: a file cannot be read, or has no peaks.
    """
    found: dict[PodKey, dict[GpuUuid, float]] = {}
    for file in files:
        try:
            usage = parse_usage(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadUsage(f"--metrics {file}: {error}") from error
        if not usage.peaks:
            raise BadUsage(f"--metrics {file}: has no {PEAK_METRIC}, expected metrics of a node agent")
        _merge(found, usage.peaks)
    return found


def peaks_of(usage: Usage) -> Peaks:
    """The peaks that node agents told."""
    found: dict[PodKey, dict[GpuUuid, float]] = {}
    for node in usage.nodes.values():
        _merge(found, node.peaks)
    return found


def _merge(found: dict[PodKey, dict[GpuUuid, float]], peaks: Peaks) -> None:
    for pod, gpus in peaks.items():
        known = found.setdefault(pod, {})
        for uuid, size_mib in gpus.items():
            known[uuid] = max(size_mib, known.get(uuid, 0.0))
