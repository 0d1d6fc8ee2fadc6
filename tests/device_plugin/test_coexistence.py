"""GPUs of ours that another plugin or a claim gives out are found by their UUIDs, and by nothing less sure."""

import pytest

from device_plugin.coexistence import ForeignEntry, conflicts
from extender.contract.units import GpuUuid

A = GpuUuid("GPU-11111111-2222-3333-4444-555555555555")
B = GpuUuid("GPU-11111111-2222-3333-4444-666666666666")


def entry(*devices: str, giver: str = "nvidia.com/gpu", pod: str = "p") -> ForeignEntry:
    """What a container has from somebody else."""
    return ForeignEntry("team", pod, "main", giver, frozenset(devices))


@pytest.mark.parametrize(
    "device", [A, f"{A}::3", f"{A}-12", f"nvidia.com/gpu={A}", f"k8s.gpu.nvidia.com/device=claim-{A}"]
)
def test_every_form_in_which_an_id_names_a_gpu(device: str) -> None:
    """NVIDIA's plugin with and without sharing, a second installation of ours, CDI, and claims."""
    found = conflicts([entry(device)], [A, B])
    assert found.gpus == {A: "nvidia.com/gpu gave it to pod team/p, container main"}
    assert found.unclear == ()


@pytest.mark.parametrize("device", [f"{A}0", f"x{A}", "MIG-1234", "0", ""])
def test_ids_of_something_else_name_no_gpu(device: str) -> None:
    """A longer UUID is another one."""
    assert conflicts([entry(device)], [A, B]) == conflicts([], [A, B])


def test_a_claim_that_names_no_uuid_is_unclear() -> None:
    """It is said, but no GPU is taken out on a guess."""
    found = conflicts([entry("gpu-0", giver="gpu.nvidia.com")], [A, B])
    assert found.gpus == {}
    assert found.unclear == ("gpu.nvidia.com gave gpu-0 to pod team/p; which GPU that is cannot be told",)


def test_other_peoples_devices_do_not_matter() -> None:
    """A network card, and a GPU of a claim that is not ours."""
    assert conflicts([entry("eth0", giver="example.com/nic"), entry("GPU-x", giver="gpu.nvidia.com")], [A]).gpus == {}
