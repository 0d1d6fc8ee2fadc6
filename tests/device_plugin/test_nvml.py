"""NVML's answers become samples, and its failures become reasons."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_plugin.gpu import GpuSample, GpuSourceError
from device_plugin.nvml import NvmlSource
from device_plugin.xids import QUIET_S
from extender.contract.units import GpuUuid
from tests.device_plugin.waiting import until
from tests.fakes.nvml_module import FakeGpu, FakeNvml


class Clock:
    """Seconds that tests move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def gpu() -> FakeGpu:
    """One healthy GPU."""
    return FakeGpu("GPU-a", numa_node=1)


@pytest.fixture
def nvml(gpu: FakeGpu) -> FakeNvml:
    """NVML with that GPU."""
    return FakeNvml(gpu)


@pytest.fixture
def clock() -> Clock:
    """The source's clock."""
    return Clock()


@pytest.fixture
def source(nvml: FakeNvml, clock: Clock, tmp_path: Path) -> Iterator[NvmlSource]:
    """The source under test."""
    found = NvmlSource(lambda: nvml, clock, tmp_path)
    yield found
    found.close()


def test_a_gpu_is_read(source: NvmlSource) -> None:
    """UUID, index, model, memory and NUMA node."""
    assert source.sample() == (GpuSample(GpuUuid("GPU-a"), 0, "NVIDIA A10", 23028, numa_node=1),)


def test_older_bindings_and_drivers(source: NvmlSource, gpu: FakeGpu, tmp_path: Path) -> None:
    """Bytes for texts, no memory_v2, the NUMA node from sysfs."""
    gpu.uuid, gpu.model, gpu.numa_node = b"GPU-a", b"NVIDIA A10", None
    gpu.broken = {"memory_v2"}
    (tmp_path / "0000:3b:00.0").mkdir()
    (tmp_path / "0000:3b:00.0" / "numa_node").write_text("1\n")
    assert source.sample() == (GpuSample(GpuUuid("GPU-a"), 0, "NVIDIA A10", 23028, numa_node=1),)


@pytest.mark.parametrize("text", [None, "-1\n", "nonsense"])
def test_an_unknown_numa_node_is_none(source: NvmlSource, gpu: FakeGpu, tmp_path: Path, text: str | None) -> None:
    """-1 is the kernel's word for it."""
    gpu.numa_node = None
    if text is not None:
        (tmp_path / "0000:3b:00.0").mkdir()
        (tmp_path / "0000:3b:00.0" / "numa_node").write_text(text)
    assert [sample.numa_node for sample in source.sample()] == [None]


def test_mig_gpus_are_left_out_with_a_reason(
    source: NvmlSource, nvml: FakeNvml, caplog: pytest.LogCaptureFixture
) -> None:
    """The others keep their NVML index; it is said once."""
    nvml.gpus.insert(0, FakeGpu("GPU-mig", mig=1))
    nvml.gpus.append(FakeGpu("GPU-b", mig=0))
    found = [[(sample.uuid, sample.index) for sample in source.sample()] for _ in range(2)]
    assert found == [[("GPU-a", 1), ("GPU-b", 2)]] * 2
    assert [record.message for record in caplog.records] == [
        "GPU with index 0 is left out: MIG is enabled on it, and MIG devices are not shared further"
    ]


@pytest.mark.parametrize("call", ["handle", "uuid", "name"])
def test_a_lost_gpu_is_unhealthy_and_comes_back(source: NvmlSource, gpu: FakeGpu, call: str) -> None:
    """What was known of it stays."""
    good = source.sample()
    gpu.broken = {call}
    lost = source.sample()
    gpu.broken = set()
    assert lost == (GpuSample(GpuUuid("GPU-a"), 0, "NVIDIA A10", 23028, False, "NVML: NVML error 15", 1),)
    assert source.sample() == good


def test_a_gpu_that_never_answered_is_left_out(source: NvmlSource, nvml: FakeNvml) -> None:
    """Without a UUID there is nothing to advertise; the other works."""
    nvml.gpus.insert(0, FakeGpu("GPU-broken", broken={"memory", "memory_v2"}))
    assert [sample.uuid for sample in source.sample()] == ["GPU-a"]


def test_lesson_19_an_nvml_that_cannot_start_says_so_and_is_tried_again(source: NvmlSource, nvml: FakeNvml) -> None:
    """The reason and a hint; the next sample starts it."""
    nvml.problem = 9
    with pytest.raises(GpuSourceError, match=r"NVML cannot start: NVML error 9; is the NVIDIA driver installed"):
        source.sample()
    nvml.problem = 0
    assert [sample.uuid for sample in source.sample()] == ["GPU-a"]


def test_an_nvml_that_fails_half_way_is_started_again(source: NvmlSource, nvml: FakeNvml) -> None:
    """A driver that was reloaded needs a new start."""
    source.sample()
    nvml.lost = 1
    with pytest.raises(GpuSourceError, match="cannot count the GPUs"):
        source.sample()
    nvml.lost = 0
    assert ([sample.healthy for sample in source.sample()], nvml.starts) == ([True], 2)


def test_a_critical_xid_marks_the_gpu_until_it_is_quiet(
    source: NvmlSource, nvml: FakeNvml, gpu: FakeGpu, clock: Clock
) -> None:
    """The others stay as they are, and an application's XID is nothing."""
    nvml.gpus.append(FakeGpu("GPU-b"))
    source.sample()
    nvml.raise_xid(43, nvml.gpus[1])
    nvml.raise_xid(79, gpu)
    until(lambda: not source.sample()[0].healthy)
    assert [(sample.healthy, sample.reason) for sample in source.sample()] == [(False, "XID 79"), (True, "")]
    clock.now_s += QUIET_S
    assert [sample.healthy for sample in source.sample()] == [True, True]


def test_a_driver_that_asks_for_recovery_is_heard(source: NvmlSource, gpu: FakeGpu) -> None:
    """A pending reset is not healed by time."""
    gpu.recovery_action = 1
    assert [sample.reason for sample in source.sample()] == ["the driver asks for a recovery action"]
    gpu.recovery_action = 0
    assert [sample.healthy for sample in source.sample()] == [True]
