"""Exports what is known of GPUs and containers to Prometheus: one series per GPU, or per container on a GPU.

A scrape reads what is there already and asks no driver. What is not known has no series: absent is not 0. The labels
`gpu`, `UUID`, `modelName`, `GPU_I_ID`, `GPU_I_PROFILE`, `namespace`, `pod` and `container` are those of NVIDIA's
dcgm-exporter, so both join; only its `UUID` of a MIG device is that of the GPU. What is measured of a whole GPU in MIG
mode has series of its own and is not copied to its MIG devices.
docs/metrics.md has the table of all series.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from device_plugin.enforcing.enforcing import Unenforced
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.gpus.readings import GpuFacts, GpuReading, RowRemaps
from device_plugin.pods.holdings import core_by_container, core_by_gpu, held_by_container, held_by_gpu
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.usage.measuring import Measurement, UseKey
from extender.contract.containers import ContainerKind
from extender.contract.mig import model_of_card
from extender.contract.units import CORE_PERCENT, DEFAULT_UNIT_MIB, GpuUuid

_MIB = 1024 * 1024
_GPU = ("gpu", "UUID", "modelName", "GPU_I_ID", "GPU_I_PROFILE")
_CONTAINER = (*_GPU, "namespace", "pod", "container")
_MARKS = {
    "core_allocated_ratio": "Compute given to it, where it asked for some.",
    "unenforced": "1 when it is not held to its share as its GPU claims.",
    "memory_overused": "1 when it has used more than its share for longer than the grace period.",
}
_FLAGS = ("unenforced", "memory_overused")
_FACTS = (
    "pci_bus_id",
    "minor_number",
    "numa_node",
    "compute_capability",
    "driver_version",
    "pcie_generation",
    "pcie_lanes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What a scrape reads; everything but the GPUs is optional.

    Args:
        gpus: the newest GPUs, None before the first sample.
        measurement: the newest measurement.
        pods: the node's pods by UID.
        left_out: why GPUs are not offered at all, by NVML index, with the number of the MIG device as `0:3`.
        xid_counts: how often each XID was seen on each GPU; None for the GPU where that is not known.
        critical_xids: how many XIDs made each GPU unhealthy, or all of them (None); None where no driver is asked.
        unwatched: why the XIDs of GPUs are not seen; None where no driver is asked.
        unenforced: containers that escape the limits of the rung that their GPU stands on.
        evictions: pods evicted so far because they used more than their share.
        overused: containers that have exceeded their share of a GPU for longer than the grace period.
    """

    gpus: Callable[[], Gpus | None]
    measurement: Callable[[], Measurement] = Measurement
    pods: Callable[[], Mapping[str, BoundPod]] = dict
    left_out: Callable[[], Mapping[str, str]] = dict
    xid_counts: Callable[[], Mapping[tuple[GpuUuid | None, int], int]] = dict
    critical_xids: Callable[[], Mapping[GpuUuid | None, int] | None] = lambda: None
    unwatched: Callable[[], Mapping[GpuUuid, str] | None] = lambda: None
    unenforced: Callable[[], Iterable[Unenforced]] = tuple
    evictions: Callable[[], int] = int
    overused: Callable[[], Iterable[UseKey]] = tuple


class GpuCollector(Collector):
    """The series of one node."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """The series as of now."""
        found = self._view.gpus()
        samples = tuple(found) if found is not None else ()
        measurement, pods = self._view.measurement(), self._view.pods()
        unit_mib = DEFAULT_UNIT_MIB if found is None else found.unit_mib
        by_uuid = {sample.uuid: sample for sample in samples}
        yield from _of_gpus(samples, measurement, held_by_gpu(pods.values(), by_uuid, unit_mib))
        yield from _of_memory_errors((*samples, *_sliced(samples)), measurement.readings)
        yield from _of_facts(samples, measurement.facts)
        yield self._xids(samples)
        yield self._critical_xids(samples)
        yield self._watched_xids(samples)
        yield self._left_out()
        held = held_by_container(pods.values(), by_uuid, unit_mib)
        yield from _of_core(samples, core_by_gpu(pods.values()))
        marks = {
            "core_allocated_ratio": {
                at: percent / CORE_PERCENT for at, percent in core_by_container(pods.values()).items()
            },
            "unenforced": dict.fromkeys((each.key for each in self._view.unenforced()), 1.0),
            "memory_overused": dict.fromkeys(self._view.overused(), 1.0),
        }
        yield from _of_containers(by_uuid, measurement, pods, held=held, marks=marks)
        yield CounterMetricFamily(
            "gpupack_plugin_overuse_evictions",
            "Pods ended because they used more than their share for too long.",
            value=self._view.evictions(),
        )

    def _xids(self, samples: Collection[GpuSample]) -> Metric:
        known = {sample.uuid: sample for sample in (*samples, *_sliced(samples))}
        family = CounterMetricFamily("gpupack_gpu_xid_errors", "XIDs that the driver reported.", labels=[*_GPU, "xid"])
        for (uuid, xid), count in self._view.xid_counts().items():
            sample = None if uuid is None else known.get(uuid)
            labels = ("", uuid or "", "", "", "") if sample is None else _labels(sample)
            family.add_metric([*labels, str(xid)], count)
        return family

    def _critical_xids(self, samples: Iterable[GpuSample]) -> Metric:
        """Each GPU has its series before the first one: increase() over a series that begins at 1 would miss it."""
        family = CounterMetricFamily(
            "gpupack_gpu_critical_xids", "XIDs that made the GPU unhealthy, whatever their number.", labels=_GPU
        )
        counts = self._view.critical_xids()
        if counts is not None:
            for sample in samples:
                family.add_metric(_labels(sample), counts.get(sample.uuid, 0))
            family.add_metric([""] * len(_GPU), counts.get(None, 0))
        return family

    def _watched_xids(self, samples: Iterable[GpuSample]) -> Metric:
        unwatched = self._view.unwatched()
        parents = {sample.uuid: sample.mig.parent for sample in samples if sample.mig is not None}
        return _per_gpu(
            "gpupack_gpu_xids_watched",
            "1 when XIDs of it are received.",
            samples,
            lambda uuid: None if unwatched is None else float(parents.get(uuid, uuid) not in unwatched),
        )

    def _left_out(self) -> Metric:
        family = _gauge("gpupack_gpu_left_out_info", "GPUs that are not offered at all, and why.", ("gpu", "reason"))
        for index, reason in self._view.left_out().items():
            family.add_metric([index, reason], 1)
        return family


def _gauge(name: str, text: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=list(labels))


def _labels(sample: GpuSample) -> tuple[str, str, str, str, str]:
    mig = sample.mig
    instance = ("", "") if mig is None else (str(mig.gi), mig.profile)
    return str(sample.index), sample.uuid, sample.model, *instance


def _sliced(samples: Collection[GpuSample]) -> tuple[GpuSample, ...]:
    """The GPUs that MIG devices are of, each once, for their labels; without those that are no longer in MIG mode."""
    whole = {sample.uuid for sample in samples}
    found = {
        sample.mig.parent: replace(
            sample, uuid=sample.mig.parent, model=model_of_card(sample.model, sample.mig), mig=None
        )
        for sample in samples
        if sample.mig is not None and sample.mig.parent not in whole
    }
    return tuple(found.values())


def _per_gpu(
    name: str, text: str, samples: Iterable[GpuSample], value: Callable[[GpuUuid], float | None]
) -> GaugeMetricFamily:
    """One series for each GPU whose value is known."""
    family = _gauge(name, text, _GPU)
    for sample in samples:
        found = value(sample.uuid)
        if found is not None:
            family.add_metric(_labels(sample), found)
    return family


def _of_gpus(samples: tuple[GpuSample, ...], measurement: Measurement, held: Mapping[GpuUuid, int]) -> Iterator[Metric]:
    by_uuid = {sample.uuid: sample for sample in samples}
    readings = measurement.readings

    def read(what: Callable[[GpuReading], float | None]) -> Callable[[GpuUuid], float | None]:
        return lambda uuid: what(readings[uuid]) if uuid in readings else None

    def outside(uuid: GpuUuid) -> float | None:
        size_mib = measurement.outside_mib.get(uuid)
        return None if size_mib is None or uuid not in readings else size_mib * _MIB

    def is_known(uuid: GpuUuid) -> float:
        return float(uuid in readings and uuid not in measurement.unknown)

    rows: tuple[tuple[str, str, Callable[[GpuUuid], float | None]], ...] = (
        ("memory_capacity_bytes", "Memory that can be given out.", lambda uuid: by_uuid[uuid].memory_mib * _MIB),
        ("memory_allocated_bytes", "Memory given to pods.", lambda uuid: held.get(uuid, 0) * _MIB),
        ("memory_used_bytes", "Memory in use, without what the driver reserves.", read(lambda r: r.used_bytes)),
        ("memory_reserved_bytes", "Memory that the driver reserves for itself.", read(lambda r: r.reserved_bytes)),
        ("memory_outside_bytes", "Memory in use by what holds no memory of this GPU.", outside),
        ("healthy", "1 when the GPU is offered, 0 when not.", lambda uuid: float(by_uuid[uuid].healthy)),
        ("cordoned", "1 when only a cordon keeps it from being offered.", lambda uuid: float(by_uuid[uuid].cordoned)),
        ("processes_known", "1 when it is known which container each process belongs to.", is_known),
    )
    for name, text, value in rows:
        yield _per_gpu(f"gpupack_gpu_{name}", text, samples, value)
    rows = (
        ("utilization_ratio", "Share of time in which a kernel ran.", read(lambda r: r.busy_ratio)),
        ("memory_busy_ratio", "Share of time in which memory was accessed.", read(lambda r: r.memory_busy_ratio)),
        ("temperature_celsius", "Temperature of the chip.", read(lambda r: r.temperature_celsius)),
        ("power_watts", "Power drawn.", read(lambda r: r.power_watts)),
    )
    for name, text, value in rows:
        yield _per_gpu(f"gpupack_gpu_{name}", text, (*samples, *_sliced(samples)), value)
    family = _gauge("gpupack_gpu_enforcement_info", "How containers are held to their share.", (*_GPU, "rung"))
    for sample in samples:
        family.add_metric([*_labels(sample), sample.standing.rung.value], 1)
    yield family


def _of_core(samples: Iterable[GpuSample], held: Mapping[GpuUuid, int]) -> Iterator[Metric]:
    found = {sample.uuid: sample for sample in samples}
    rows: tuple[tuple[str, str, Callable[[GpuUuid], float]], ...] = (
        ("core_allocated_ratio", "Compute given to pods that asked for some.", lambda u: held.get(u, 0) / CORE_PERCENT),
        ("core_enforced", "1 where containers are held to it.", lambda uuid: float(found[uuid].standing.holds_core)),
    )
    for name, text, value in rows:
        yield _per_gpu(f"gpupack_gpu_{name}", text, found.values(), value)


def _of_memory_errors(samples: Iterable[GpuSample], readings: Mapping[GpuUuid, GpuReading]) -> Iterator[Metric]:
    errors = CounterMetricFamily(
        "gpupack_gpu_ecc_errors", "ECC errors since the driver was loaded.", labels=[*_GPU, "severity"]
    )
    remapped = _gauge("gpupack_gpu_remapped_rows", "Rows of memory replaced by spare ones.", (*_GPU, "cause"))
    for sample in samples:
        reading = readings.get(sample.uuid, GpuReading(sample.uuid))
        for severity, count in (("corrected", reading.corrected_errors), ("uncorrected", reading.uncorrected_errors)):
            if count is not None:
                errors.add_metric([*_labels(sample), severity], count)
        if reading.row_remaps is not None:
            remapped.add_metric([*_labels(sample), "correctable"], reading.row_remaps.correctable)
            remapped.add_metric([*_labels(sample), "uncorrectable"], reading.row_remaps.uncorrectable)
    yield errors
    yield remapped

    def rows(what: Callable[[RowRemaps], bool]) -> Callable[[GpuUuid], float | None]:
        found = {uuid: reading.row_remaps for uuid, reading in readings.items()}
        return lambda uuid: None if (remaps := found.get(uuid)) is None else float(what(remaps))

    def pages(what: Callable[[GpuReading], float | None]) -> Callable[[GpuUuid], float | None]:
        return lambda uuid: what(readings[uuid]) if uuid in readings else None

    for name, text, value in (
        ("row_remapping_pending", "1 when rows wait for a reset to be replaced.", rows(lambda r: r.is_pending)),
        ("row_remapping_failed", "1 when no spare row was left.", rows(lambda r: r.has_failed)),
        ("retired_pages", "Pages of memory taken out of use.", pages(lambda r: r.retired_pages)),
        ("page_retirement_pending", "1 when pages wait for a reset.", pages(lambda r: r.is_retirement_pending)),
    ):
        yield _per_gpu(f"gpupack_gpu_{name}", text, samples, value)


def _of_facts(samples: Iterable[GpuSample], facts: Mapping[GpuUuid, GpuFacts]) -> Iterator[Metric]:
    info = _gauge(
        "gpupack_gpu_info", "What does not change of a GPU; unknown is empty.", (*_GPU, *_FACTS, "parent_uuid")
    )
    links = _gauge("gpupack_gpu_nvlink_links", "Active NVLinks by their other end.", (*_GPU, "peer_pci_bus_id"))
    for sample in samples:
        known = facts.get(sample.uuid)
        if known is None:
            continue
        values = [sample.numa_node if name == "numa_node" else getattr(known, name) for name in _FACTS]
        values.append(None if sample.mig is None else sample.mig.parent)
        info.add_metric([*_labels(sample), *("" if value is None else str(value) for value in values)], 1)
        for peer, count in known.nvlinks:
            links.add_metric([*_labels(sample), peer], count)
    yield info
    yield links


def _of_containers(
    by_uuid: Mapping[GpuUuid, GpuSample],
    measurement: Measurement,
    pods: Mapping[str, BoundPod],
    *,
    held: Mapping[UseKey, int],
    marks: Mapping[str, Mapping[UseKey, float]],
) -> Iterator[Metric]:
    used = {(use.key, use.gpu): use for use in measurement.uses}

    def family(name: str, text: str, values: Mapping[UseKey, float]) -> GaugeMetricFamily:
        # A pod that is made again under its name has the labels of the old one, which may still run. Prometheus rejects
        # a scrape that has a series twice, so they are one: what they hold and use together, or a mark of either.
        sums: dict[tuple[str, ...], float] = {}
        for (key, uuid), value in values.items():
            labels = _container_labels(key, by_uuid.get(uuid), pods)
            if labels is not None:
                sums[labels] = max(sums.get(labels, 0.0), value) if name in _FLAGS else sums.get(labels, 0.0) + value
        found = _gauge(f"gpupack_container_gpu_{name}", text, _CONTAINER)
        for labels, value in sums.items():
            found.add_metric(labels, value)
        return found

    lasting = {at: size * _MIB for at, size in held.items() if not _is_init(at[0], pods)}
    yield family("memory_allocated_bytes", "Memory given to it.", lasting)
    yield family("memory_used_bytes", "Memory in use.", {at: use.used_mib * _MIB for at, use in used.items()})
    peaks = {at: size * _MIB for at, size in measurement.peaks_mib.items()}
    yield family("memory_used_peak_bytes", "The most memory seen in use.", peaks)
    over = {at: max(0, use.used_mib - held.get(at, 0)) * _MIB for at, use in used.items()}
    yield family("memory_over_limit_bytes", "Memory in use beyond what was given to it.", over)
    ratios = {at: use.sm_ratio for at, use in used.items() if use.sm_ratio is not None}
    yield family("utilization_ratio", "Share of the GPU's multiprocessor time.", ratios)
    for name, values in marks.items():
        yield family(name, _MARKS[name], values)


def _is_init(key: ContainerKey, pods: Mapping[str, BoundPod]) -> bool:
    """Whether it is a plain init container, whose memory the later containers reuse."""
    need = pods[key.uid].need(key.container) if key.uid in pods else None
    return need is not None and need.kind is ContainerKind.INIT


def _container_labels(
    key: ContainerKey, sample: GpuSample | None, pods: Mapping[str, BoundPod]
) -> tuple[str, ...] | None:
    pod = pods.get(key.uid)
    if sample is None or pod is None:
        return None
    return (*_labels(sample), pod.namespace, pod.name, key.container)
