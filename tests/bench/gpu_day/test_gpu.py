"""The stand-in for a GPU shows the stand-ins for CUDA programs, and leaves the process as it was."""

import os

import pynvml
import pytest

from bench.gpu_day.children import Child
from bench.gpu_day.gpu import MeasuredGpu, real_gpu, stand_in_gpu
from device_plugin.gpus.gpu import GpuSourceError
from tests.device_plugin.drivers import library, real_library

MIB = 1024 * 1024
PATIENT_S = 30.0


def listed(gpu: MeasuredGpu) -> dict[int, int | None]:
    """MiB of each process that the driver lists."""
    processes = gpu.reading().processes or ()
    return {each.pid: None if each.used_bytes is None else each.used_bytes // MIB for each in processes}


def test_processes_come_grow_and_go() -> None:
    """As those of CUDA programs do."""
    library()
    with stand_in_gpu() as gpu:
        with Child("bench.gpu_day.workloads.client", {"stand_in": True}, gpu.environment()) as child:
            child.take(PATIENT_S)
            assert listed(gpu) == {child.pid: 300}
            child.ask(PATIENT_S, "grow", mib=128, step_mib=64, how="malloc")
            assert (listed(gpu), gpu.reading().used_bytes) == ({child.pid: 428}, 428 * MIB)
        assert (listed(gpu), gpu.reading().used_bytes) == ({}, 0)
        assert gpu.environment()["CUDA_VISIBLE_DEVICES"] == gpu.uuid


def test_a_stand_in_leaves_binding_and_environment_as_they_were() -> None:
    """The next command in this process finds the real driver again."""
    library()
    before = pynvml.nvmlLib, os.environ.get("NVML_FAKE_DIR")
    with stand_in_gpu():
        assert pynvml.nvmlLib is not before[0]
    assert (pynvml.nvmlLib, os.environ.get("NVML_FAKE_DIR")) == before


def test_no_driver_is_an_error_that_says_so() -> None:
    """Nothing stands in for a real GPU unless it was asked for."""
    if real_library() is not None:
        pytest.skip("this machine has a driver")
    with pytest.raises(GpuSourceError, match="NVML cannot start"), real_gpu():
        pass
