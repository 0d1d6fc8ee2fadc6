"""Simulated nodes publish their GPUs and MIG devices as a device plugin does."""

import pytest

from bench.simulated.specs import GpuSpec, MachineSpec
from extender.contract.inventory import parse_inventory
from extender.contract.mig import MigDevice
from extender.contract.names import Names
from extender.contract.units import GpuUuid

A100 = "NVIDIA A100-SXM4-80GB"
MIXED = MachineSpec("n", (GpuSpec(A100, 81920), GpuSpec(A100, 81920, mig=("3g.40gb", "1g.10gb"))))


def test_a_gpu_in_slices_is_published_as_its_mig_devices() -> None:
    """They carry its index, sizes of their own, and the model as NVML writes it."""
    found = [(gpu.index, gpu.uuid, gpu.model, gpu.memory_mib) for gpu in MIXED.inventory().gpus]
    expected = [
        (0, "GPU-n-0", A100, 81920),
        (1, "MIG-n-1-0", f"{A100} MIG 3g.40gb", 40448),
        (1, "MIG-n-1-1", f"{A100} MIG 1g.10gb", 9984),
    ]
    assert expected == found


def test_a_mig_device_says_where_it_is() -> None:
    """Its GPU, its number there, and its part of it."""
    parent = GpuUuid("GPU-n-1")
    expected = [None, MigDevice(parent, 0, 1, 0, "3g.40gb", 3, 7), MigDevice(parent, 1, 2, 0, "1g.10gb", 1, 7)]
    assert expected == [gpu.mig for gpu in MIXED.inventory().gpus]


def test_another_generation_has_other_uuids() -> None:
    """The node came back with other GPUs."""
    uuids = [{gpu.uuid for gpu in MIXED.inventory(generation=number).gpus} for number in (0, 1, 2)]
    assert len(set.union(*uuids)) == 9


def test_a_node_without_kubelet_offers_slices_as_devices() -> None:
    """As many whole GPUs as there are placeable devices, and the units of each."""
    node = MIXED.hollow_node_object(Names())
    allocatable = node["status"]["allocatable"]
    assert [allocatable[f"gpupack.io/{what}"] for what in ("gpu", "gpu-mem", "gpu-core")] == ["3", "128", "300"]
    assert MIXED.inventory() == parse_inventory(node["metadata"]["annotations"]["gpupack.io/inventory"])


@pytest.mark.parametrize("mig", [("1g.10gb",) * 8, ("7g.80gb", "1g.10gb"), ("1c.3g.40gb",), ("10gb",), ("8g.80gb",)])
def test_slices_that_no_gpu_has_are_refused(mig: tuple[str, ...]) -> None:
    """A GPU has seven."""
    with pytest.raises(ValueError, match="of 7 slices"):
        GpuSpec(A100, 81920, mig=mig)
