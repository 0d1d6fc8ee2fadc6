"""A container stands on the best rung that all its GPUs have, and its environment and mounts say so."""

from pathlib import PurePath

import pytest

from device_plugin.gpus.standing import ADVISORY_ONLY, Standing
from device_plugin.kubelet.deciding.enforcement import Mount, Share, enforce, enforce_core
from device_plugin.settings import MpsAccess, Rung
from extender.contract.units import GpuUuid

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MPS = MpsAccess(PurePath("/run/mps"), PurePath("/dev/shm"))
ALL = Standing(tuple(Rung))
ON_MPS = Standing((Rung.MPS, Rung.WATCHED, Rung.ADVISORY))


def share(uuid: GpuUuid = A, memory_mib: int = 6144) -> Share:
    """A part of a GPU of 24 GiB."""
    return Share(uuid, memory_mib, 24576)


def test_driver_rung_gives_the_toolkit_whole_mib() -> None:
    """Request and limit are the share; frameworks grow as they need."""
    answer = enforce([share()], {A: ALL}, MPS)
    assert (answer.rung, answer.mounts) == (Rung.DRIVER, ())
    assert answer.envs == {
        "GPUPACK_ENFORCEMENT": "driver",
        "NVIDIA_GPU_MEMORY_REQUEST": "6144",
        "NVIDIA_GPU_MEMORY_LIMIT": "6144",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def test_uneven_shares_cannot_be_told_to_the_driver() -> None:
    """Its limit is one number for all GPUs of the container, so the next proven rung is used."""
    uneven = [share(), share(B, 2048)]
    assert enforce(uneven, {A: ALL, B: ALL}, MPS).rung is Rung.MPS
    only = Standing((Rung.DRIVER, Rung.ADVISORY))
    assert enforce(uneven, {A: only, B: only}, MPS).rung is Rung.ADVISORY


def test_mps_rung_names_exactly_the_containers_gpus_and_mounts_its_folders() -> None:
    """An entry for another GPU would drop all limits."""
    under_mps = Standing((Rung.MPS, Rung.ADVISORY))
    answer = enforce([share(), share(B)], {A: under_mps, B: under_mps}, MPS)
    assert answer.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "GPU-a=6144M,GPU-b=6144M"
    assert answer.envs["CUDA_MPS_PIPE_DIRECTORY"] == "/run/mps"
    assert answer.mounts == (Mount("/run/mps", "/run/mps"), Mount("/dev/shm", "/dev/shm"))
    assert answer.rung is Rung.MPS


def test_mps_without_a_way_to_the_daemon_is_not_claimed() -> None:
    """Its variables would lead nowhere."""
    under_mps = Standing((Rung.MPS, Rung.ADVISORY))
    assert enforce([share()], {A: under_mps}, None).rung is Rung.ADVISORY


def test_a_container_stands_on_the_best_rung_that_all_its_gpus_have() -> None:
    """One GPU that is only watched keeps the whole container at watched."""
    rungs = {A: ALL, B: Standing((Rung.WATCHED, Rung.ADVISORY))}
    assert enforce([share(), share(B)], rungs, MPS).rung is Rung.WATCHED
    assert enforce([share(), share(B)], {A: ALL}, MPS).rung is Rung.ADVISORY


def test_without_a_limit_the_frameworks_are_told_their_smallest_fraction() -> None:
    """In thousandths, rounded down, never zero."""
    answer = enforce([share(), share(B, 1024)], {}, None)
    assert answer.envs == {
        "GPUPACK_ENFORCEMENT": "advisory",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.041",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    assert enforce([share(memory_mib=1)], {}, None).envs["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.001"


def test_compute_is_held_to_by_mps() -> None:
    """The call for compute may come before that for memory, so it brings all that a client needs."""
    answer = enforce_core(30, [ON_MPS, ON_MPS], MPS)
    assert answer.envs == {
        "GPUPACK_GPU_CORE_PERCENT": "30",
        "GPUPACK_GPU_CORE_ENFORCEMENT": "mps",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "30",
        "CUDA_MPS_PIPE_DIRECTORY": "/run/mps",
    }
    assert answer.mounts == enforce([share()], {A: ON_MPS}, MPS).mounts


@pytest.mark.parametrize(
    ("standings", "mps"),
    [([ALL], MPS), ([ON_MPS, ADVISORY_ONLY], MPS), ([ON_MPS], None), ([ADVISORY_ONLY], MPS)],
)
def test_elsewhere_compute_only_counts_when_pods_are_placed(standings: list[Standing], mps: MpsAccess | None) -> None:
    """And says so: no other rung limits it, not even the driver's."""
    assert enforce_core(30, standings, mps).envs == {
        "GPUPACK_GPU_CORE_PERCENT": "30",
        "GPUPACK_GPU_CORE_ENFORCEMENT": "none",
    }
