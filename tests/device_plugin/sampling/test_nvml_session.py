"""Conversions of NVML's answers, as tables."""

from types import SimpleNamespace

import pytest

from device_plugin.gpus.readings import GpuProcess
from device_plugin.sampling.nvml_session import (
    kernel_bus_id,
    latest_sm_percent,
    ratio,
    text,
    union,
)


@pytest.mark.parametrize(("percent", "expected"), [(0, 0.0), (50, 0.5), (100, 1.0), (101, None), (None, None)])
def test_ratio(percent: int | None, expected: float | None) -> None:
    """More than all of it is no measurement."""
    assert ratio(percent) == expected


@pytest.mark.parametrize("value", ["00000000:3B:00.0", b"00000000:3B:00.0", "0000:3b:00.0"])
def test_kernel_bus_id(value: str | bytes) -> None:
    """Four digits of domain, small letters."""
    assert kernel_bus_id(value) == "0000:3b:00.0"


def test_texts_may_be_bytes() -> None:
    """And then not all of them printable."""
    assert [text(b"NVIDIA A10"), text("NVIDIA A10"), text(b"\xff")] == ["NVIDIA A10", "NVIDIA A10", "\ufffd"]


def test_the_union_of_nothing() -> None:
    """Lists that the driver does not give are left out."""
    assert union([None, []], {}) == ()


def test_a_process_in_two_lists_has_the_larger_memory() -> None:
    """Also when one of them does not know it."""
    lists = [[_process(1, 5), _process(2, None)], [_process(1, 9), _process(2, 4)], [_process(1, None)]]
    assert union(lists, None) == (GpuProcess(1, 9, None), GpuProcess(2, 4, None))


def _process(pid: int, used: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=(1 << 64) - 1 if used is None else used)


def test_the_newest_utilization_of_each_process() -> None:
    """Slots that the driver left empty, and nonsense, are no samples."""
    samples = [(1, 10, 50), (1, 20, 30), (2, 15, 70), (0, 99, 0), (3, 98, 4000)]
    found = latest_sm_percent(SimpleNamespace(pid=pid, timeStamp=at, smUtil=sm) for pid, at, sm in samples)
    assert found == ({1: 30, 2: 70}, 20)
