"""GPUs are looked up by UUID and published as the contract says."""

import pytest

from device_plugin.gpus.gpu import Gpus, GpuSample
from extender.contract.inventory import parse_inventory
from extender.contract.units import ContractError, GpuUuid
from tests.device_plugin.builders import UNIT_MIB, gpus, sample


def test_the_inventory_survives_the_annotation() -> None:
    """What the plugin publishes is what the extender reads."""
    gpu = GpuSample(GpuUuid("GPU-a"), 3, "NVIDIA A10", 23028, False, "XID 79", numa_node=1, outside_mib=512)
    inventory = Gpus(UNIT_MIB, (gpu,)).inventory()
    assert parse_inventory(inventory.to_json()) == inventory


def test_lesson_12_each_gpu_has_its_own_size() -> None:
    """A small GPU beside a large one keeps its own number of units."""
    found = gpus(a=15, b=80)
    assert [found.units(GpuUuid("GPU-a")), found.units(GpuUuid("GPU-b")), found.units(GpuUuid("GPU-c"))] == [15, 80, 0]


def test_order_is_that_of_the_samples() -> None:
    """Unknown GPUs come last."""
    found = gpus(b=1, a=1)
    assert [found.position(GpuUuid(f"GPU-{name}")) for name in "bac"] == [0, 1, 2]


def test_one_uuid_twice_is_refused() -> None:
    """Two GPUs cannot be told apart by it."""
    with pytest.raises(ValueError, match="each UUID once"):
        Gpus(UNIT_MIB, (sample("GPU-a"), sample("GPU-a")))


def test_a_uuid_that_leaves_no_room_for_the_unit_number_is_refused() -> None:
    """Device IDs have at most 63 characters."""
    with pytest.raises(ContractError, match="58 characters"):
        sample("GPU-" + "a" * 60)
