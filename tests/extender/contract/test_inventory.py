"""The inventory annotation survives the round trip and refuses what it cannot mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.inventory import Inventory, InventoryGpu, parse_inventory
from extender.contract.mig import MigDevice
from extender.contract.units import ContractError, GpuUuid, UnitMib

MIG = st.builds(
    MigDevice,
    parent=st.uuids().map(lambda value: GpuUuid(f"GPU-{value}")),
    device=st.integers(0, 6),
    gi=st.integers(0, 13),
    ci=st.integers(0, 6),
    profile=st.sampled_from(["1g.10gb", "3g.20gb", ""]),
    slices=st.integers(1, 7),
    of=st.just(7),
)
GPU = st.builds(
    InventoryGpu,
    uuid=st.uuids().map(lambda value: GpuUuid(f"GPU-{value}")),
    index=st.integers(0, 15),
    model=st.sampled_from(["Tesla T4", "NVIDIA A100-SXM4-80GB"]),
    memory_mib=st.integers(0, 200_000),
    healthy=st.booleans(),
    reason=st.text(max_size=20),
    numa_node=st.none() | st.integers(0, 7),
    outside_mib=st.integers(0, 1000),
    enforcement=st.sampled_from(["", "driver", "mps", "watched", "advisory"]),
    core_enforcement=st.sampled_from(["", "mps"]),
    mig=st.none() | MIG,
)
HEAD = '{"version":1,"unitMib":1024,"gpus":['
INVENTORIES = st.builds(
    Inventory,
    unit_mib=st.sampled_from([256, 512, 1024]).map(UnitMib),
    gpus=st.lists(GPU, max_size=8, unique_by=lambda gpu: gpu.uuid).map(tuple),
)


@given(INVENTORIES)
def test_round_trip(inventory: Inventory) -> None:
    """Writing and reading gives the same value."""
    assert parse_inventory(inventory.to_json()) == inventory


def test_a_gpu_has_its_own_size_in_whole_units() -> None:
    """Two GPUs of one node differ, and the part smaller than a unit is left out."""
    small, large = InventoryGpu(GpuUuid("a"), 0, "T4", 15360), InventoryGpu(GpuUuid("b"), 1, "A100", 81559)
    inventory = Inventory(UnitMib(1024), (small, large))
    assert [inventory.units_of(gpu) for gpu in inventory.gpus] == [15, 79]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version":1,"unitMib":1024}', "gpus is None, expected a list"),
        ('{"version":7,"unitMib":1024,"gpus":[]}', "version is 7, expected 1"),
        ('{"version":1,"unitMib":1024,"gpus":[1]}', "gpus[0] is 1, expected an object"),
        ('{"version":1,"unitMib":1024,"gpus":[{"uuid":"a","index":0,"memoryMib":-1}]}', "a.memoryMib is -1"),
        (
            '{"version":1,"unitMib":1024,"gpus":[{"uuid":"a","index":0,"memoryMib":1,"healthy":"no"}]}',
            "healthy is 'no'",
        ),
        (
            '{"version":1,"unitMib":1024,"gpus":[{"uuid":"a","index":0,"memoryMib":1,"mig":3}]}',
            "gpus[0].mig is 3, expected an object",
        ),
        (
            (
                '{"version":1,"unitMib":1024,"gpus":[{"uuid":"a","index":0,"memoryMib":1,"mig":{"parent":"GPU-b","device":0,'
                '"gi":1,"ci":0,"profile":"1g.5gb","slices":8,"of":7}}]}'
            ),
            "mig.slices is 8 of 7, expected at least 1",
        ),
        (
            '{"version":1,"unitMib":1024,"gpus":[{"uuid":"a","index":0,"memoryMib":1},{"uuid":"a","index":1,"memoryMib":1}]}',
            "name one uuid twice",
        ),
        (
            '{"version":1,"unitMib":1024,"gpus":[{"uuid":"a","index":0,"memoryMib":1,"reason":"\\ud800"}]}',
            "inventory: expected text that UTF-8 can hold, got half of a surrogate pair",
        ),
    ],
)
def test_bad_annotations_name_the_field(text: str, message: str) -> None:
    """Each refusal says which field, its value, and what was expected."""
    with pytest.raises(ContractError) as caught:
        parse_inventory(text)
    assert message in str(caught.value)


def test_an_inventory_without_enforcement_is_read_and_says_nothing_of_it() -> None:
    """Device plugins from before the field are understood; the version stays, so older extenders read newer ones."""
    gpu = '{"uuid":"GPU-a","index":0,"model":"Tesla T4","memoryMib":15360,"healthy":true,"outsideMib":0}'
    inventory = parse_inventory(HEAD + gpu + "]}")
    assert [found.enforcement for found in inventory.gpus] == [""]
    assert inventory.to_json() == HEAD + gpu + "]}"


def test_a_mig_device_says_which_gpu_it_is_a_slice_of() -> None:
    """The entry keeps NVIDIA's own numbers, so that people find it in nvidia-smi."""
    slice_ = MigDevice(GpuUuid("GPU-a"), device=3, gi=9, ci=0, profile="1g.10gb", slices=1, of=7)
    gpu = InventoryGpu(GpuUuid("MIG-b"), 0, "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9728, mig=slice_)
    text = Inventory(UnitMib(1024), (gpu,)).to_json()
    assert '"mig":{"parent":"GPU-a","device":3,"gi":9,"ci":0,"profile":"1g.10gb","slices":1,"of":7}' in text
    assert parse_inventory(text).gpus == (gpu,)
    assert slice_.share == 1 / 7


def test_what_a_newer_device_plugin_adds_is_passed_over() -> None:
    """As an extender from before MIG passes over `mig`: to it the device is a GPU of its size."""
    known = '{"uuid":"MIG-b","index":0,"model":"NVIDIA A100-SXM4-80GB MIG 1g.10gb","memoryMib":9728'
    later = known + ',"later":{"parent":"GPU-a"}}'
    assert parse_inventory(HEAD + later + "]}") == parse_inventory(HEAD + known + "}]}")
