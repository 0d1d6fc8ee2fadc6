"""No series is there twice, whether GPUs are whole, in MIG mode, or just on their way from one to the other."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.gpus.mig.slices import DESTROYED
from device_plugin.gpus.readings import GpuReading, RowRemaps
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView
from device_plugin.usage.measuring import Measurement
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, sample, slice_of

CARDS = ("GPU-a", "GPU-b")
WHOLE = [sample(card, index=index) for index, card in enumerate(CARDS)]
SLICES = [
    slice_of(card, f"MIG-{card}-{gi}", index=index, gi=gi) for index, card in enumerate(CARDS) for gi in (7, 8, 9)
]
REMAPS = RowRemaps(2, 1, is_pending=True, has_failed=False)


def reading(uuid: GpuUuid) -> GpuReading:
    """All that a GPU can say which its MIG devices can't."""
    return GpuReading(
        uuid,
        temperature_celsius=40,
        power_watts=70.5,
        corrected_errors=7,
        uncorrected_errors=1,
        row_remaps=REMAPS,
        retired_pages=3,
        is_retirement_pending=False,
    )


@given(
    shown=st.lists(st.sampled_from([*WHOLE, *SLICES]), unique_by=lambda each: each.uuid),
    lost=st.sets(st.integers(0, 8)),
)
def test_no_series_is_there_twice(shown: list[GpuSample], lost: set[int]) -> None:
    """Prometheus would reject all series of the node."""
    samples = tuple(
        replace(each, healthy=False, reason=DESTROYED) if number in lost else each
        for number, each in enumerate(sorted(shown, key=lambda each: each.rank))
    )
    uuids = [GpuUuid(card) for card in CARDS] + [each.uuid for each in SLICES]
    of = NodeView(
        gpus=lambda: Gpus(UNIT_MIB, samples),
        measurement=lambda: Measurement(at_s=1.0, readings={uuid: reading(uuid) for uuid in uuids}, problem=""),
        xid_counts=lambda: {(uuid, 48): 1 for uuid in (*uuids, None)},
        critical_xids=lambda: dict.fromkeys((*uuids, None), 1),
    )
    series = Counter(
        (each.name, *sorted(each.labels.items())) for family in GpuCollector(of).collect() for each in family.samples
    )
    assert {name: count for name, count in series.items() if count > 1} == {}
