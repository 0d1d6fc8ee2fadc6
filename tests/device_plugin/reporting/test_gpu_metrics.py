"""The series per GPU and container: their values, and that docs/metrics.md names exactly them."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric

from device_plugin.enforcing.enforcing import Unenforced
from device_plugin.gpus.gpu import Gpus
from device_plugin.gpus.readings import GpuFacts, GpuReading, RowRemaps
from device_plugin.gpus.standing import Standing
from device_plugin.metrics import PluginMetrics
from device_plugin.pods.holdings import held_by_container, held_by_gpu
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.reporting.driver_metrics import DriverCollector
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView
from device_plugin.reporting.plugin_metrics import PluginState
from device_plugin.settings import Resource, Rung
from device_plugin.usage.accounting.usage import ContainerUse
from device_plugin.usage.measuring import Measurement
from extender.contract.containers import ContainerKind
from extender.contract.mig import MigDevice
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, memory, placed, pod, sample, whole

GIB = 1 << 30
MIB = 1 << 20
A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MAIN = ContainerKey("uid-p", "main")
ON_A = {"gpu": "0", "UUID": "GPU-a", "modelName": "Tesla T4", "GPU_I_ID": "", "GPU_I_PROFILE": ""}
OF_MAIN = {**ON_A, "namespace": "default", "pod": "p", "container": "main"}
GPUS = Gpus(
    UNIT_MIB,
    (
        replace(sample("GPU-a"), numa_node=1, standing=Standing((Rung.WATCHED,))),
        sample("GPU-b", index=1, healthy=False),
    ),
)
READING = GpuReading(
    uuid=A,
    used_bytes=10 * GIB,
    reserved_bytes=GIB // 2,
    busy_ratio=0.5,
    memory_busy_ratio=0.25,
    temperature_celsius=40,
    power_watts=70.5,
    corrected_errors=7,
    uncorrected_errors=1,
    row_remaps=RowRemaps(2, 1, is_pending=True, has_failed=False),
    retired_pages=3,
    is_retirement_pending=False,
    processes=(),
)
MEASUREMENT = Measurement(
    at_s=1.0,
    readings={A: READING},
    facts={A: GpuFacts(A, "0000:3b:00.0", 3, "7.5", "580.95.05", 3, 16, (("0000:3c:00.0", 4),))},
    uses=(ContainerUse(MAIN, A, 9 * 1024, sm_ratio=0.3),),
    peaks_mib={(MAIN, A): 10 * 1024},
    outside_mib={A: 512},
    problem="",
)
PODS = {
    "uid-p": pod(
        "p",
        memory("init", 12, ContainerKind.INIT, core=50),
        memory(core=30),
        allocated={"init": placed(a=12), "main": placed(a=8)},
    )
}


def view() -> NodeView:
    """A node of which everything is known."""
    return NodeView(
        gpus=lambda: GPUS,
        measurement=lambda: MEASUREMENT,
        pods=lambda: PODS,
        left_out=lambda: {"2": "MIG is enabled"},
        xid_counts=lambda: {(A, 79): 2, (None, 48): 1},
        critical_xids=lambda: {A: 2},
        unwatched=lambda: {B: "Not Supported"},
        unenforced=lambda: [Unenforced((MAIN, A), Rung.MPS, "no client")],
        evictions=lambda: 4,
        overused=lambda: [(MAIN, A)],
    )


S = GpuUuid("MIG-s")
ON_S = {"gpu": "2", "UUID": "MIG-s", "modelName": "A100 MIG 1g.10gb", "GPU_I_ID": "9", "GPU_I_PROFILE": "1g.10gb"}
ON_CARD = {"gpu": "2", "UUID": "GPU-c", "modelName": "A100", "GPU_I_ID": "", "GPU_I_PROFILE": ""}


def sliced() -> NodeView:
    """A node with a MIG device, of whose GPU temperature, power and errors are known."""
    card = GpuUuid("GPU-c")
    mig = MigDevice(parent=card, device=3, gi=9, ci=0, profile="1g.10gb", slices=1, of=7)
    gpus = Gpus(UNIT_MIB, (replace(sample("MIG-s", index=2), model="A100 MIG 1g.10gb", mig=mig),))
    whole = replace(READING, uuid=card, used_bytes=None, reserved_bytes=None, processes=None, is_sliced=True)
    facts = {S: GpuFacts(S, "0000:3b:00.0"), card: GpuFacts(card, "0000:3b:00.0")}
    readings = {card: whole, S: GpuReading(S, used_bytes=GIB, processes=())}
    return NodeView(
        gpus=lambda: gpus,
        measurement=lambda: Measurement(at_s=1.0, readings=readings, facts=facts, problem=""),
        xid_counts=lambda: {(S, 94): 1, (card, 48): 2},
        critical_xids=lambda: {S: 3},
        unwatched=lambda: {card: "Not Supported"},
    )


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("gpu_memory_used_bytes", ON_S, GIB),
        ("gpu_memory_capacity_bytes", ON_S, 16 * GIB),
        ("gpu_healthy", ON_S, 1),
        ("gpu_healthy", ON_CARD, None),
        ("gpu_memory_capacity_bytes", ON_CARD, None),
        ("gpu_memory_used_bytes", ON_CARD, None),
        ("gpu_temperature_celsius", ON_CARD, 40),
        ("gpu_temperature_celsius", ON_S, None),
        ("gpu_power_watts", ON_CARD, 70.5),
        ("gpu_ecc_errors_total", {**ON_CARD, "severity": "corrected"}, 7),
        ("gpu_row_remapping_pending", ON_CARD, 1),
        ("gpu_row_remapping_pending", ON_S, None),
        ("gpu_xid_errors_total", {**ON_S, "xid": "94"}, 1),
        ("gpu_xid_errors_total", {**ON_CARD, "xid": "48"}, 2),
        ("gpu_critical_xids_total", ON_S, 3),
        ("gpu_xids_watched", ON_S, 0),
    ],
)
def test_a_mig_device_has_its_own_series_and_its_gpu_the_others(
    name: str, labels: dict[str, str], value: float | None
) -> None:
    """So no sum over GPUs counts anything twice."""
    metrics = PluginMetrics(Names(), [GpuCollector(sliced())])
    assert metrics.registry.get_sample_value(f"gpupack_{name}", labels) == value


def test_the_gpu_of_a_mig_device_is_a_label() -> None:
    """dcgm-exporter knows MIG devices under the UUID of their GPU."""
    (info,) = [family for family in collected(sliced()) if family.name == "gpupack_gpu_info"]
    assert [(each.labels["UUID"], each.labels["parent_uuid"]) for each in info.samples] == [("MIG-s", "GPU-c")]


def collected(of: NodeView) -> list[Metric]:
    """All families."""
    return list(GpuCollector(of).collect())


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("gpu_memory_capacity_bytes", ON_A, 16 * GIB),
        ("gpu_memory_allocated_bytes", ON_A, 12 * GIB),
        ("gpu_memory_used_bytes", ON_A, 10 * GIB),
        ("gpu_memory_reserved_bytes", ON_A, GIB // 2),
        ("gpu_memory_outside_bytes", ON_A, 512 * MIB),
        ("gpu_healthy", ON_A, 1),
        ("gpu_healthy", {**ON_A, "gpu": "1", "UUID": "GPU-b"}, 0),
        ("gpu_processes_known", ON_A, 1),
        ("gpu_processes_known", {**ON_A, "gpu": "1", "UUID": "GPU-b"}, 0),
        ("gpu_utilization_ratio", ON_A, 0.5),
        ("gpu_temperature_celsius", ON_A, 40),
        ("gpu_power_watts", ON_A, 70.5),
        ("gpu_enforcement_info", {**ON_A, "rung": "watched"}, 1),
        ("gpu_ecc_errors_total", {**ON_A, "severity": "uncorrected"}, 1),
        ("gpu_remapped_rows", {**ON_A, "cause": "correctable"}, 2),
        ("gpu_row_remapping_pending", ON_A, 1),
        ("gpu_xid_errors_total", {**ON_A, "xid": "79"}, 2),
        ("gpu_xid_errors_total", {**dict.fromkeys(ON_A, ""), "xid": "48"}, 1),
        ("gpu_critical_xids_total", ON_A, 2),
        ("gpu_critical_xids_total", {**ON_A, "gpu": "1", "UUID": "GPU-b"}, 0),
        ("gpu_critical_xids_total", dict.fromkeys(ON_A, ""), 0),
        ("gpu_xids_watched", ON_A, 1),
        ("gpu_xids_watched", {**ON_A, "gpu": "1", "UUID": "GPU-b"}, 0),
        ("gpu_nvlink_links", {**ON_A, "peer_pci_bus_id": "0000:3c:00.0"}, 4),
        ("gpu_left_out_info", {"gpu": "2", "reason": "MIG is enabled"}, 1),
        ("container_gpu_memory_allocated_bytes", OF_MAIN, 8 * GIB),
        ("container_gpu_memory_used_bytes", OF_MAIN, 9 * GIB),
        ("container_gpu_memory_used_peak_bytes", OF_MAIN, 10 * GIB),
        ("container_gpu_memory_over_limit_bytes", OF_MAIN, GIB),
        ("container_gpu_utilization_ratio", OF_MAIN, 0.3),
        ("container_gpu_unenforced", OF_MAIN, 1),
        ("container_gpu_memory_overused", OF_MAIN, 1),
        ("container_gpu_core_allocated_ratio", OF_MAIN, 0.3),
        ("gpu_core_allocated_ratio", ON_A, 0.5),
        ("gpu_core_enforced", ON_A, 0),
        ("plugin_overuse_evictions_total", {}, 4),
    ],
)
def test_values(name: str, labels: dict[str, str], value: float) -> None:
    """In base units, under dcgm-exporter's labels."""
    metrics = PluginMetrics(Names(), [GpuCollector(view())])
    assert metrics.registry.get_sample_value(f"gpupack_{name}", labels) == value


def test_what_is_not_known_has_no_series() -> None:
    """A GPU that was not measured has what is known without measuring, and nothing else."""
    found = {
        family.name
        for family in collected(NodeView(gpus=lambda: GPUS))
        for each in family.samples
        if each.labels.get("UUID")
    }
    known = {
        "memory_capacity_bytes",
        "memory_allocated_bytes",
        "healthy",
        "cordoned",
        "processes_known",
        "enforcement_info",
        "core_allocated_ratio",
        "core_enforced",
    }
    assert found == {f"gpupack_gpu_{name}" for name in known}


def test_before_the_first_sample_there_are_no_series_of_gpus() -> None:
    """And no error."""
    assert [each.name for family in collected(NodeView(gpus=lambda: None)) for each in family.samples] == [
        "gpupack_plugin_overuse_evictions_total"
    ]


def test_a_container_whose_pod_or_gpu_is_gone_has_no_series() -> None:
    """Its last measurement may be older than that."""
    for gone in (replace(view(), pods=dict), replace(view(), gpus=lambda: Gpus(UNIT_MIB, ()))):
        names = {each.name for family in collected(gone) for each in family.samples}
        assert not {name for name in names if name.startswith("gpupack_container")}


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (pod("p", memory(), allocated={"main": placed(a=8)}), {A: 8}),
        (pod("p", memory(), memory("two"), allocated={"main": placed(a=8), "two": placed(a=2, b=1)}), {A: 10, B: 1}),
        (pod("p", whole(), allocated={"main": placed(a=99)}), {A: 16}),
        (pod("p", memory(), plan={"main": placed(a=8)}), {}),
        (replace(pod("p", memory(), allocated={"main": placed(a=8)}), ended=True), {}),
        (
            pod(
                "p",
                memory("init", kind=ContainerKind.INIT),
                memory("side", kind=ContainerKind.SIDECAR),
                memory("late", kind=ContainerKind.INIT),
                memory("main"),
                allocated={"init": placed(a=9), "side": placed(a=2), "late": placed(a=8), "main": placed(a=3)},
            ),
            {A: 10},
        ),
    ],
)
def test_what_a_pod_holds(held: BoundPod, expected: dict[GpuUuid, int]) -> None:
    """Init containers lend their devices to the later ones; a whole GPU is all of it."""
    known = {each.uuid: each for each in GPUS}
    assert held_by_gpu([held], known, UNIT_MIB) == {uuid: units * UNIT_MIB for uuid, units in expected.items()}


def test_what_containers_hold() -> None:
    """Each by itself."""
    held = pod("p", memory(), whole("two"), allocated={"main": placed(a=8), "two": placed(b=99)})
    assert held_by_container([held], {each.uuid: each for each in GPUS}, UNIT_MIB) == {
        (MAIN, A): 8 * 1024,
        (ContainerKey("uid-p", "two"), B): 16 * 1024,
    }


def again(uid: str, of: BoundPod = PODS["uid-p"]) -> BoundPod:
    """The same pod with another UID, as a StatefulSet makes it after the old one was deleted by force."""
    return replace(of, uid=uid)


def twice() -> NodeView:
    """A node with two pods of one name, the older of which still runs."""
    new = ContainerKey("uid-new", "main")
    uses = (*MEASUREMENT.uses, ContainerUse(new, A, 1024, sm_ratio=0.1))
    measurement = replace(MEASUREMENT, uses=uses, peaks_mib={**MEASUREMENT.peaks_mib, (new, A): 2048})
    return replace(
        view(),
        measurement=lambda: measurement,
        pods=lambda: {**PODS, "uid-new": again("uid-new")},
        unenforced=lambda: [Unenforced((key, A), Rung.MPS, "no client") for key in (MAIN, new)],
        overused=lambda: [(new, A)],
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_allocated_bytes", 16 * GIB),
        ("memory_used_bytes", 10 * GIB),
        ("memory_used_peak_bytes", 12 * GIB),
        ("memory_over_limit_bytes", GIB),
        ("utilization_ratio", 0.4),
        ("core_allocated_ratio", 0.6),
        ("unenforced", 1.0),
        ("memory_overused", 1.0),
    ],
)
def test_two_pods_of_one_name_are_one_series(name: str, value: float) -> None:
    """Of what they hold and use together; Prometheus would reject all series of the node."""
    (family,) = (each for each in collected(twice()) if each.name == f"gpupack_container_gpu_{name}")
    assert [each.labels for each in family.samples] == [OF_MAIN]
    assert [each.value for each in family.samples] == pytest.approx([value])


UIDS = st.sampled_from(["uid-1", "uid-2", "uid-3"])
PLACES = st.dictionaries(st.sampled_from(["a", "b", "gone"]), st.integers(1, 4), max_size=3).map(lambda u: placed(**u))
NAMED = st.builds(
    lambda name, need, where, ended: replace(
        pod(name, *need, allocated={each.name: where for each in need}), ended=ended
    ),
    st.sampled_from(["p", "q"]),
    st.lists(st.sampled_from([memory("main", 2, core=20), memory("side", 1), whole("main")]), max_size=2),
    PLACES,
    st.booleans(),
)
KEYS = st.tuples(st.builds(ContainerKey, UIDS, st.sampled_from(["main", "side"])), st.sampled_from([A, B]))


@given(pods=st.dictionaries(UIDS, NAMED), keys=st.lists(KEYS, unique=True), data=st.data())
def test_no_series_is_there_twice(
    pods: dict[str, BoundPod], keys: list[tuple[ContainerKey, GpuUuid]], data: st.DataObject
) -> None:
    """Whatever pods the node has, new ones under old names included."""
    marked = data.draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
    of = NodeView(
        gpus=lambda: GPUS,
        measurement=lambda: replace(
            MEASUREMENT,
            uses=tuple(ContainerUse(*key, 1024, sm_ratio=0.1) for key in keys),
            peaks_mib=dict.fromkeys(keys, 1024),
        ),
        pods=lambda: {uid: again(uid, each) for uid, each in pods.items()},
        unenforced=lambda: [Unenforced(key, Rung.MPS, "no client") for key in marked],
        overused=lambda: marked,
    )
    series = Counter((each.name, *sorted(each.labels.items())) for family in collected(of) for each in family.samples)
    assert {name: count for name, count in series.items() if count > 1} == {}


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of every metric in the tables of docs/metrics.md."""
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    found = {}
    for section in text.split("\n## "):
        common = {"Per GPU": ON_A, "Per container": OF_MAIN}.get(section.partition("\n")[0], {})
        for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", section, re.MULTILINE):
            own = frozenset(re.findall(r"`(\w+)`", labels))
            found[name] = (kind, own if name == "gpupack_gpu_left_out_info" else own | frozenset(common))
    return found


def exported() -> dict[str, tuple[str, frozenset[str]]]:
    """The same of what a plugin exports when everything happened once."""
    state = PluginState(Names(), lambda: GPUS, lambda: 0.0, lambda: {"pod": 2}, lambda: False)
    driver = DriverCollector(lambda: {"meter": 12.5}, lambda: False)
    metrics = PluginMetrics(Names(), [state, GpuCollector(view()), driver])
    calls: list[Callable[[], None]] = [
        lambda: metrics.allocated(Resource.MEMORY, "given"),
        lambda: metrics.preferred(Resource.MEMORY, planned=True),
        lambda: metrics.refused_start(Resource.MEMORY),
        lambda: metrics.registered(Resource.MEMORY),
        lambda: metrics.answered(Resource.MEMORY, "Allocate", 0.1),
    ]
    for call in calls:
        call()
    found = {}
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        plain = [each for each in family.samples if not each.name.endswith("_created") and "le" not in each.labels]
        (labels,) = {frozenset(each.labels) for each in plain}
        found[name] = (family.type, labels)
    return found


def test_the_documented_metrics_are_the_exported_ones() -> None:
    """Names, types and labels, both ways."""
    assert documented() == exported()


def test_names_end_in_base_units() -> None:
    """Bytes, ratios, celsius, watts, seconds; counters in _total; the rest are numbers of things and yes or no."""
    things = (
        "healthy|cordoned|known|rows|pending|failed|failing|pages|info|links|unenforced|enforced|overused|watched|released|"
        "gpus|devices"
    )
    endings = re.compile(rf"_(bytes|ratio|celsius|watts|seconds|total|{things})$")
    assert [name for name in exported() if not endings.search(name)] == []
