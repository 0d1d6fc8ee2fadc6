"""The simulated driver's MIG devices are as NVML shows them: IDs, sizes, UUIDs, gaps, and what they do not answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, NO_PERMISSION, NOT_SUPPORTED, Model, SimulatedDriver
from bench.simulated.nvml.state import NO_INSTANCE
from tests.bench.simulated.nvml.asking import code_of
from tests.device_plugin.drivers import simulated

A100 = Model("NVIDIA A100-SXM4-40GB", 40960, 600)
NOT_FOUND = pynvml.NVML_ERROR_NOT_FOUND
INVALID_ARGUMENT = pynvml.NVML_ERROR_INVALID_ARGUMENT
MIB = 1024 * 1024


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDriver]:
    """Two GPUs, of which the first is in MIG mode, and NVML started."""
    with simulated(tmp_path / "nvml", monkeypatch) as found:
        found.add(A100)
        found.add(A100)
        found.slice(0, ["3g.20gb", "1g.5gb"])
        pynvml.nvmlInit()
        yield found
        pynvml.nvmlShutdown()


def device(number: int, gpu: int = 0) -> Any:
    """The handle of a MIG device."""
    return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(pynvml.nvmlDeviceGetHandleByIndex(gpu), number)


def facts(number: int) -> tuple[object, ...]:
    """What NVML says of a MIG device of the first GPU."""
    handle = device(number)
    attributes = pynvml.nvmlDeviceGetAttributes_v2(handle)
    return (
        pynvml.nvmlDeviceGetName(handle),
        pynvml.nvmlDeviceGetMemoryInfo(handle).total // MIB,
        pynvml.nvmlDeviceGetGpuInstanceId(handle),
        pynvml.nvmlDeviceGetComputeInstanceId(handle),
        attributes.gpuInstanceSliceCount,
        attributes.computeInstanceSliceCount,
        attributes.memorySizeMB,
        attributes.multiprocessorCount,
    )


@pytest.mark.usefixtures("driver")
def test_devices_have_their_own_sizes_and_ids() -> None:
    """Those of an A100 with 40 GB."""
    assert [facts(0), facts(1)] == [
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19968, 2, 0, 3, 3, 19968, 42),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864, 7, 0, 1, 1, 4864, 14),
    ]


@pytest.mark.usefixtures("driver")
def test_a_device_knows_its_gpu_and_is_found_by_its_uuid() -> None:
    """UUIDs are `MIG-` and 36 characters; a GPU's handle is not one of a MIG device."""
    parent, handle = pynvml.nvmlDeviceGetHandleByIndex(0), device(1)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    found = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    of = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(found)
    assert (uuid[:4], len(uuid), pynvml.nvmlDeviceGetUUID(found)) == ("MIG-", 40, uuid)
    assert pynvml.nvmlDeviceGetUUID(of) == pynvml.nvmlDeviceGetUUID(parent)
    assert [pynvml.nvmlDeviceIsMigDeviceHandle(each).value for each in (parent, handle)] == [0, 1]
    assert code_of(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, parent) == INVALID_ARGUMENT


def test_gaps_are_not_found(driver: SimulatedDriver) -> None:
    """Numbers go up to what the GPU can have; those of destroyed devices and of GPUs without MIG mode are gaps."""
    driver.destroy(0, 0)
    parents = [pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(2)]
    assert [pynvml.nvmlDeviceGetMaxMigDeviceCount(parent) for parent in parents] == [7, 0]
    found = [code_of(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, parents[0], number) for number in range(8)]
    assert found == [NOT_FOUND, 0, *[NOT_FOUND] * 5, INVALID_ARGUMENT]
    assert code_of(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, parents[1], 0) == NOT_FOUND
    driver.gpus[1].mig = -1
    assert code_of(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, parents[1], 0) == NOT_SUPPORTED


def test_a_device_that_was_destroyed_no_longer_answers(driver: SimulatedDriver) -> None:
    """A handle that somebody kept leads nowhere, also when MIG mode is off again."""
    handles = [device(0), device(1)]
    driver.destroy(0, 1)
    assert [code_of(pynvml.nvmlDeviceGetUUID, each) for each in handles] == [0, NOT_FOUND]
    driver.gpus[0].mig = 0
    assert [code_of(pynvml.nvmlDeviceGetUUID, each) for each in handles] == [NOT_FOUND] * 2


def test_the_same_ids_have_the_same_uuid_with_another_size(driver: SimulatedDriver) -> None:
    """As on real GPUs, whose UUIDs of MIG devices are hashes of names."""
    before = driver.slice(0, ["1g.5gb", "1g.5gb"])[0].uuid
    after = driver.slice(0, ["1g.10gb"])[0]
    assert (after.uuid, after.total_bytes // MIB) == (before, 9984)
    assert driver.slice(1, ["1g.10gb"])[0].uuid != before


def test_two_compute_instances_share_a_gpu_instance(driver: SimulatedDriver) -> None:
    """They have its memory together, and each shows all of it; another of the whole size gets one of its own."""
    driver.slice(0, ["1c.3g.20gb", "2c.3g.20gb", "3g.20gb"])
    driver.gpus[0].run(1, 100, device=0)
    found = [(facts(number)[2:5], pynvml.nvmlDeviceGetMemoryInfo(device(number)).used // MIB) for number in range(3)]
    assert found == [((2, 0, 3), 100), ((2, 1, 3), 100), ((1, 0, 3), 0)]


@pytest.mark.parametrize("profiles", [["1g"], ["2c.1g.5gb"], ["1g.5gb"] * 9])
def test_what_cannot_be_is_refused(driver: SimulatedDriver, profiles: list[str]) -> None:
    """Names that are none, and more devices than there are numbers."""
    with pytest.raises(ValueError, match="expected at most 8 names"):
        driver.slice(0, profiles)


def test_processes_are_those_of_the_device(driver: SimulatedDriver) -> None:
    """The GPU lists all of them, with their IDs."""
    driver.gpus[0].run(11, 100, device=0)
    driver.gpus[0].run(12, 200, device=1)
    driver.gpus[1].run(13, 300)
    on = pynvml.nvmlDeviceGetComputeRunningProcesses_v3
    parents = [pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(2)]
    found = [[(each.pid, each.gpuInstanceId) for each in on(handle)] for handle in (device(0), device(1), *parents)]
    assert found == [[(11, 2)], [(12, 7)], [(11, 2), (12, 7)], [(13, NO_INSTANCE)]]
    assert [pynvml.nvmlDeviceGetMemoryInfo(each).used // MIB for each in (device(0), device(1))] == [100, 200]


def test_without_monitoring_a_gpu_says_nothing_of_all_its_devices(driver: SimulatedDriver) -> None:
    """Each device does, and so does a GPU without MIG mode."""
    driver.state.monitor = 0
    parents = [pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(2)]
    calls = (pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlDeviceGetComputeRunningProcesses_v3)
    found = [[code_of(call, handle) for call in calls] for handle in (*parents, device(0))]
    assert found == [[NO_PERMISSION] * 2, [0, 0], [0, 0]]


@pytest.mark.usefixtures("driver")
def test_devices_do_not_answer_what_is_of_the_whole_gpu() -> None:
    """And a GPU in MIG mode measures no utilization."""
    whole: list[tuple[Callable[..., Any], *tuple[Any, ...]]] = [
        (pynvml.nvmlDeviceGetUtilizationRates,),
        (pynvml.nvmlDeviceGetProcessUtilization, 0),
        (pynvml.nvmlDeviceGetPowerUsage,),
        (pynvml.nvmlDeviceGetTemperature, 0),
        (pynvml.nvmlDeviceGetTotalEccErrors, 0, 0),
        (pynvml.nvmlDeviceGetRemappedRows,),
        (pynvml.nvmlDeviceGetRetiredPages, 0),
        (pynvml.nvmlDeviceGetNumaNodeId,),
        (pynvml.nvmlDeviceGetPciInfo,),
        (pynvml.nvmlDeviceGetMinorNumber,),
        (pynvml.nvmlDeviceGetCudaComputeCapability,),
        (pynvml.nvmlDeviceGetMigMode,),
        (pynvml.nvmlDeviceGetMaxMigDeviceCount,),
    ]
    assert {code_of(call, device(0), *more) for call, *more in whole} == {NOT_SUPPORTED}
    parent = pynvml.nvmlDeviceGetHandleByIndex(0)
    measured = [code_of(call, parent, *more) for call, *more in whole[:2]]
    assert measured == [NOT_SUPPORTED] * 2
    only = (pynvml.nvmlDeviceGetGpuInstanceId, pynvml.nvmlDeviceGetAttributes_v2)
    assert [code_of(call, parent) for call in only] == [NOT_SUPPORTED] * 2


def test_a_lost_gpu_takes_its_devices_along(driver: SimulatedDriver) -> None:
    """One device may be lost alone."""
    handles = [device(0), device(1)]
    driver.gpus[0].slices[1].lost = GPU_IS_LOST
    assert [code_of(pynvml.nvmlDeviceGetUUID, each) for each in handles] == [0, GPU_IS_LOST]
    driver.gpus[0].lost = GPU_IS_LOST
    assert [code_of(pynvml.nvmlDeviceGetUUID, each) for each in handles] == [GPU_IS_LOST] * 2


@pytest.mark.parametrize(
    ("monitor", "gi", "ci", "expected"),
    [(1, 7, 0, (7, 0)), (1, 7, NO_INSTANCE, (7, NO_INSTANCE)), (0, NO_INSTANCE, NO_INSTANCE, (NO_INSTANCE,) * 2)],
)
def test_xids_name_the_instances(
    driver: SimulatedDriver, monitor: int, gi: int, ci: int, expected: tuple[int, int]
) -> None:
    """All of the IDs, some, or none; events are of the GPU, since MIG devices cannot be registered."""
    driver.state.monitor = monitor
    driver.raise_xid(94, 0, gi=gi, ci=ci)
    event = wait_for_event()
    assert (pynvml.nvmlDeviceGetUUID(event.device), event.eventData) == ("GPU-00000000-0000-4000-8000-000000000000", 94)
    assert (event.gpuInstanceId, event.computeInstanceId) == expected


def test_without_monitoring_no_xid_of_a_device_arrives(driver: SimulatedDriver) -> None:
    """Only those of the whole GPU do."""
    driver.state.monitor = 0
    driver.raise_xid(94, 0, gi=7)
    with pytest.raises(pynvml.NVMLError_Timeout):
        wait_for_event()


def wait_for_event() -> Any:
    """The next event of the first GPU."""
    events = pynvml.nvmlEventSetCreate()
    try:
        assert code_of(pynvml.nvmlDeviceRegisterEvents, device(1), 8, events) == NOT_SUPPORTED
        pynvml.nvmlDeviceRegisterEvents(pynvml.nvmlDeviceGetHandleByIndex(0), 8, events)
        return pynvml.nvmlEventSetWait(events, 100)
    finally:
        pynvml.nvmlEventSetFree(events)


def test_older_drivers_name_the_gpu_and_the_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of R450 to R460."""
    with simulated(tmp_path / "old", monkeypatch, old_driver=True) as driver:
        driver.add(A100)
        driver.slice(0, ["1g.5gb"])
        pynvml.nvmlInit()
        uuid = pynvml.nvmlDeviceGetUUID(device(0))
        found = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID(uuid))
        pynvml.nvmlShutdown()
    assert (uuid, found) == ("MIG-GPU-00000000-0000-4000-8000-000000000000/7/0",) * 2
