"""GPUs of ours that another plugin or a claim gives out are found by their UUIDs, and by nothing less sure."""

import pytest

from device_plugin.gpus.conflicts import CLAIM, ForeignEntry, Guest, conflicts, may_give_gpus
from device_plugin.gpus.gpu import GpuSample
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import sample, slice_of

A = GpuUuid("GPU-11111111-2222-3333-4444-555555555555")
B = GpuUuid("GPU-11111111-2222-3333-4444-666666666666")


def of(*uuids: GpuUuid) -> list[GpuSample]:
    """GPUs with these UUIDs."""
    return [sample(uuid, index=index) for index, uuid in enumerate(uuids)]


def entry(*devices: str, giver: str = "nvidia.com/gpu", pod: str = "p") -> ForeignEntry:
    """What a container has from somebody else."""
    return ForeignEntry("team", pod, "main", giver, frozenset(devices))


@pytest.mark.parametrize(
    "device", [A, f"{A}::3", f"{A}-12", f"nvidia.com/gpu={A}", f"k8s.gpu.nvidia.com/device=claim-{A}"]
)
def test_every_form_in_which_an_id_names_a_gpu(device: str) -> None:
    """NVIDIA's plugin with and without sharing, a second installation of ours, CDI, and claims."""
    found = conflicts([entry(device)], of(A, B))
    assert found.gpus == {A: "nvidia.com/gpu gave it to pod team/p, container main"}
    assert found.unclear == ()


@pytest.mark.parametrize("device", [f"{A}0", f"x{A}", "MIG-1234", "0", ""])
def test_ids_of_something_else_name_no_gpu(device: str) -> None:
    """A longer UUID is another one."""
    assert conflicts([entry(device)], of(A, B)) == conflicts([], of(A, B))


S, T = "MIG-89c850dc-38e3-57df-9a3b-000000000001", "MIG-89c850dc-38e3-57df-9a3b-000000000002"


@pytest.mark.parametrize(
    ("device", "taken"),
    [
        (S, {S}),
        (f"{S}::0", {S}),
        (f"nvidia.com/gpu={T}", {T}),
        (A, {S, T}),
        (f"MIG-{A}/7/0", {S, T}),
        (B, {B}),
        ("nvidia0/gi7", set()),
    ],
)
def test_others_may_give_out_a_mig_device_or_all_of_a_gpu(device: str, taken: set[str]) -> None:
    """One that names the GPU leaves nothing of it; GKE's IDs name none."""
    found = conflicts([entry(device)], [slice_of(A, S), slice_of(A, T), sample(B, index=1)])
    assert (set(found.gpus), found.unclear) == (taken, ())


def test_a_claim_to_a_mig_device_that_names_no_uuid_is_unclear_until_it_is_seen() -> None:
    """As NVIDIA's DRA driver names them."""
    gpus, name = [slice_of(A, S), slice_of(A, T)], "gpu-0-mig-1g10gb-19-0"
    assert conflicts([entry(name, giver="gpu.nvidia.com")], gpus).unclear == (
        f"gpu.nvidia.com gave {name} to pod team/p; which GPU that is is not known",
    )
    there = Guest(GpuUuid(S), "team", "p", frozenset({CLAIM}))
    assert conflicts([], gpus, [there]).gpus == {S: f"pod team/p runs on it and has {CLAIM}"}


def test_a_claim_that_names_no_uuid_is_unclear() -> None:
    """It is said, but no GPU is taken out on a guess."""
    found = conflicts([entry("gpu-0", giver="gpu.nvidia.com")], of(A, B))
    assert found.gpus == {}
    assert found.unclear == ("gpu.nvidia.com gave gpu-0 to pod team/p; which GPU that is is not known",)


def test_other_peoples_devices_do_not_matter() -> None:
    """A network card, and a GPU of a claim that is not ours."""
    assert conflicts([entry("eth0", giver="example.com/nic"), entry("GPU-x", giver="gpu.nvidia.com")], of(A)).gpus == {}


def guest(*givers: str, pod: str = "p") -> Guest:
    """A pod on the first GPU."""
    return Guest(A, "team", pod, frozenset(givers))


@pytest.mark.parametrize("giver", [CLAIM, "nvidia.com/gpu"])
def test_a_pod_that_runs_on_a_gpu_which_others_may_have_given_it_is_a_conflict(giver: str) -> None:
    """NVML shows where, though the kubelet lists no device of it, or one that names no GPU."""
    expected = {A: f"pod team/p runs on it and has {giver}"}
    assert conflicts([], of(A, B), [guest(giver)]).gpus == expected
    assert conflicts([entry("7", giver=giver)], of(A, B), [guest(giver)]).gpus == expected


def test_a_pod_whose_devices_name_another_gpu_is_no_conflict_on_this_one() -> None:
    """Then it is there for another reason, and its memory is counted as outside."""
    assert conflicts([entry(B)], of(A), [guest("nvidia.com/gpu")]).gpus == {}
    assert conflicts([], of(B), [guest(CLAIM)]).gpus == {}
    assert conflicts([], of(A, B), [guest()]).gpus == {}


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("aliyun.com/gpu-mem", True),
        ("example.com/vGPU", True),
        ("cpu", False),
        ("rdma/hca_shared", False),
        ("hugepages-2Mi", False),
    ],
)
def test_resources_that_may_be_gpus(resource: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """By their names; a network card in a pod on a GPU proves nothing."""
    assert may_give_gpus(resource) is expected
