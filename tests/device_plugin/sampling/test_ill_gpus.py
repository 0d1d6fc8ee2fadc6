"""One GPU that is ill, odd or gone is one GPU: it is not offered, and the others are, under their own UUIDs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, NOT_SUPPORTED, UNKNOWN, Model, SimulatedDriver
from device_plugin.gpus.diagnosis import NO_MEMORY, ROWS_FAILED
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.gpus.plausible import LARGEST_BYTES
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from extender.contract.units import GpuUuid

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
B = GpuUuid("GPU-00000001-0000-4000-8000-000000000000")
C = GpuUuid("GPU-00000002-0000-4000-8000-000000000000")

TIMEOUT, IRQ_ISSUE, CORRUPTED_INFOROM, OPERATING_SYSTEM, VERSION_MISMATCH, DEPRECATED = 10, 11, 14, 17, 25, 26
NO_PERMISSION, FUNCTION_NOT_FOUND, GPU_NOT_FOUND, RESET_REQUIRED = 4, 13, 28, 16
TROUBLE = [UNKNOWN, TIMEOUT, IRQ_ISSUE, CORRUPTED_INFOROM, OPERATING_SYSTEM, GPU_NOT_FOUND, RESET_REQUIRED]
NO_SUCH_QUESTION = [NOT_SUPPORTED, FUNCTION_NOT_FOUND, VERSION_MISMATCH, DEPRECATED]


@pytest.fixture
def source(driver: SimulatedDriver, tmp_path: Path) -> Iterator[NvmlSource]:
    """The source under test, over three GPUs."""
    for _ in range(3):
        driver.add(Model())
    found = NvmlSource(sysfs_pci=tmp_path)
    yield found
    found.close()


def healthy(source: NvmlSource) -> dict[GpuUuid, bool]:
    """Which GPUs there are, and whether each may be used."""
    return {sample.uuid: sample.healthy for sample in source.sample()}


def reason(source: NvmlSource, uuid: GpuUuid) -> str:
    """Why a GPU may not be used."""
    return next(sample.reason for sample in source.sample() if sample.uuid == uuid)


def fail_all(driver: SimulatedDriver, index: int, code: int, *, but: str) -> None:
    """Let every call but one fail."""
    for call in driver.calls:
        if call not in (but, "HANDLE"):
            driver.fail(index, call, code)


@pytest.mark.parametrize("but", ["", "UUID"])
def test_a_gpu_that_answers_nothing_is_not_well(source: NvmlSource, driver: SimulatedDriver, but: str) -> None:
    """Whatever the code; whether or not it still says who it is; and it is back when it answers."""
    for code in TROUBLE:
        fail_all(driver, 0, 0, but="")
        assert healthy(source) == {A: True, B: True, C: True}, code
        fail_all(driver, 0, code, but=but)
        assert healthy(source) == {A: False, B: True, C: True}, code
        assert reason(source, A).startswith("NVML: "), code


@pytest.mark.parametrize("call", ["UUID", "MIG", "MEMORY_V2", "ROWS", "FIELDS"])
def test_one_question_about_health_that_fails_is_enough(source: NvmlSource, driver: SimulatedDriver, call: str) -> None:
    """Of a GPU that was well, and of one that is seen for the first time; it is back when all are answered."""
    for code in TROUBLE:
        driver.fail(1, call, code)
        assert healthy(source).get(B, False) is False, code
        driver.fail(1, call, 0)
        assert healthy(source) == {A: True, B: True, C: True}, code


@pytest.mark.parametrize("call", ["MIG", "MEMORY_V2", "ROWS", "FIELDS", "NUMA", "PCI"])
def test_a_question_that_a_driver_does_not_know_says_nothing(
    source: NvmlSource, driver: SimulatedDriver, call: str
) -> None:
    """Older drivers, older GPUs, guests of a hypervisor."""
    for code in NO_SUCH_QUESTION:
        driver.fail(1, call, code)
        assert [healthy(source), healthy(source)] == [{A: True, B: True, C: True}] * 2, code


def test_a_measurement_that_fails_says_nothing_about_health(source: NvmlSource, driver: SimulatedDriver) -> None:
    """It has no series then."""
    for call in ("RATES", "POWER", "TEMPERATURE", "TEMPERATURE_V", "ECC", "RETIRED", "EVENTS"):
        driver.fail(1, call, UNKNOWN)
    assert healthy(source) == {A: True, B: True, C: True}


def test_memory_of_version_1_is_asked_only_where_there_is_no_version_2(
    source: NvmlSource, driver: SimulatedDriver
) -> None:
    """Else it would count as given out what is reserved."""
    driver.fail(0, "MEMORY_V2", UNKNOWN)
    driver.fail(1, "MEMORY_V2", NOT_SUPPORTED)
    found = {sample.uuid: sample.memory_mib for sample in source.sample()}
    assert found == {B: 23028, C: 23028 - 500}
    assert source.left_out == {"0": "NVML does not say how much memory it has: Unknown Error"}
    reader = NvmlReader(load_pynvml)
    assert [reading.used_bytes is None for reading in reader.read()] == [True, False, False]
    reader.close()


def test_what_is_wrong_is_not_forgotten_when_it_cannot_be_read(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Only a good answer heals: the card was replaced or reset."""
    for code in (UNKNOWN, GPU_IS_LOST, NOT_SUPPORTED, NO_PERMISSION):
        driver.gpus[0].rows[3] = 1
        assert reason(source, A) == ROWS_FAILED, code
        driver.fail(0, "ROWS", code)
        assert reason(source, A) == ROWS_FAILED, code
        driver.fail(0, "ROWS", 0)
        driver.gpus[0].rows[3] = 0
        assert reason(source, A) == "", code
    for code in (NOT_SUPPORTED, NO_PERMISSION):
        driver.gpus[0].recovery_action = 2
        assert reason(source, A) == "the driver asks for a recovery action", code
        driver.fail(0, "FIELDS", code)
        assert reason(source, A) == "the driver asks for a recovery action", code
        driver.fail(0, "FIELDS", 0)
        driver.gpus[0].recovery_action = 0
        assert reason(source, A) == "", code


def test_memory_that_is_no_longer_told(source: NvmlSource, driver: SimulatedDriver) -> None:
    """A GPU that told it once has not become one without memory of its own."""
    source.sample()
    for call in ("MEMORY", "MEMORY_V2"):
        driver.fail(0, call, NOT_SUPPORTED)
    assert reason(source, A) == NO_MEMORY


@pytest.mark.parametrize("code", [UNKNOWN, NO_PERMISSION])
def test_a_gpu_whose_mig_mode_is_not_told_is_not_offered_as_a_whole(
    source: NvmlSource, driver: SimulatedDriver, code: int
) -> None:
    """It may be split: it was, or it is seen for the first time, or it has been well so far."""
    driver.gpus[0].mig = 1
    driver.fail(1, "MIG", code)
    source.sample()
    driver.fail(0, "MIG", code)
    driver.fail(2, "MIG", code)
    assert healthy(source) == {C: False}
    assert set(source.left_out) == {"0", "1"}


def test_a_gpu_that_was_split_stays_so_until_it_says_otherwise(source: NvmlSource, driver: SimulatedDriver) -> None:
    """That it does not support MIG is no answer of a GPU that does."""
    driver.gpus[0].mig = 1
    source.sample()
    driver.gpus[0].mig = -1
    assert healthy(source) == {B: True, C: True}
    driver.gpus[0].mig = 0
    assert healthy(source) == {A: True, B: True, C: True}


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_gpu_that_is_removed_is_gone_under_its_own_uuid(
    source: NvmlSource, driver: SimulatedDriver, index: int
) -> None:
    """The indices of those behind it shift, and nothing else of them does."""
    before = {sample.uuid: sample.memory_mib for sample in source.sample()}
    driver.gpus[2].total_bytes -= 1 << 30
    driver.remove(index)
    gone = (A, B, C)[index]
    after = source.sample()
    assert {sample.uuid: sample.healthy for sample in after} == {uuid: uuid != gone for uuid in (A, B, C)}
    assert {sample.uuid: sample.memory_mib for sample in after} == before
    assert reason(source, gone) == "NVML no longer shows it"
    assert [sample.index for sample in after if sample.healthy] == [0, 1]


def test_one_gpu_gone_and_another_that_cannot_say_who_it_is(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Neither can be told from the other, and both are out of use; the third is not."""
    source.sample()
    driver.remove(0)
    driver.fail(0, "UUID", UNKNOWN)
    assert healthy(source) == {A: False, B: False, C: True}
    why = "NVML no longer shows it (index 0: NVML does not say its UUID: Unknown Error)"
    assert (reason(source, A), reason(source, B)) == (why, why)
    assert source.left_out == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"total_bytes": 0}, "its memory cannot be right: 0 bytes"),
        ({"total_bytes": 0, "reserved_bytes": 0}, "its memory cannot be right: 0 bytes"),
        ({"total_bytes": LARGEST_BYTES + 1}, f"its memory cannot be right: {LARGEST_BYTES + 1} bytes"),
        ({"total_bytes": (1 << 64) - 1}, f"its memory cannot be right: {(1 << 64) - 1} bytes"),
        ({"uuid": b""}, "it cannot be identified: its UUID is empty"),
        ({"uuid": b"G" * 80}, "it cannot be identified: its UUID has 80 characters, expected at most 58"),
        ({"uuid": b"GPU-\xff"}, "it cannot be identified: NVML does not say its UUID: its answer is no UTF-8 text"),
        ({"name": b"NVIDIA \xff"}, "NVML does not say its name: its answer is no UTF-8 text"),
        ({"name": b""}, "its product name is ''"),
    ],
)
def test_an_odd_gpu_is_left_out_alone(
    source: NvmlSource, driver: SimulatedDriver, caplog: pytest.LogCaptureFixture, changes: dict[str, object], why: str
) -> None:
    """It is said why, once; the others are offered."""
    for name, value in changes.items():
        setattr(driver.gpus[1], name, value)
    assert [healthy(source), healthy(source)] == [{A: True, C: True}] * 2
    assert source.left_out == {"1": why}
    assert [record.message for record in caplog.records] == [f"GPU with index 1 is left out: {why}"]


@pytest.mark.parametrize("total", [0, LARGEST_BYTES + 1])
def test_a_gpu_that_becomes_odd_is_ill(source: NvmlSource, driver: SimulatedDriver, total: int) -> None:
    """What was given out of it stays known."""
    source.sample()
    driver.gpus[1].total_bytes = total
    assert healthy(source) == {A: True, B: False, C: True}
    assert reason(source, B) == f"its memory cannot be right: {total} bytes"


def test_two_gpus_of_one_uuid_are_both_left_out(source: NvmlSource, driver: SimulatedDriver) -> None:
    """A container can be given neither; one that was offered before stays known, and is ill."""
    good = driver.gpus[1].uuid
    driver.gpus[1].uuid = driver.gpus[0].uuid
    why = f"more than one GPU has the UUID {A}"
    assert healthy(source) == {C: True}
    assert source.left_out == {"0": why, "1": why}
    driver.gpus[1].uuid = good
    source.sample()
    driver.gpus[1].uuid = driver.gpus[0].uuid
    assert healthy(source) == {A: False, B: False, C: True}
    assert (reason(source, A), reason(source, B)) == (why, "NVML no longer shows it")


def test_a_number_of_gpus_that_cannot_be(source: NvmlSource, driver: SimulatedDriver) -> None:
    """An NVML that counts so is not asked further."""
    driver.state.gpu_count = (1 << 32) - 1
    with pytest.raises(GpuSourceError, match="NVML shows 4294967295 GPUs"):
        source.sample()
    driver.state.gpu_count = 3
    assert healthy(source) == {A: True, B: True, C: True}
