"""What cannot be true of a GPU is said, so that it is left out alone."""

import pytest

from device_plugin.gpus.answers import MemorySize
from device_plugin.gpus.plausible import LARGEST_BYTES, numa_node_of, odd_memory, odd_model, odd_uuid

_GIB = 1 << 30


@pytest.mark.parametrize(
    ("uuid", "why"),
    [
        ("GPU-00000000-0000-4000-8000-000000000000", ""),
        ("G", ""),
        ("G" * 58, ""),
        ("", "its UUID is empty"),
        ("G" * 59, "its UUID has 59 characters, expected at most 58"),
        ("GPU-1,GPU-2", "its UUID 'GPU-1,GPU-2' has more than letters, digits, '.', '_' and '-'"),
        ("GPU 1", "its UUID 'GPU 1' has more than letters, digits, '.', '_' and '-'"),
        ("GPU-\ufffd", "its UUID 'GPU-\ufffd' has more than letters, digits, '.', '_' and '-'"),
        ("-1", "its UUID '-1' has more than letters, digits, '.', '_' and '-'"),
        ("GPU-1\n", "its UUID 'GPU-1\\n' has more than letters, digits, '.', '_' and '-'"),
    ],
)
def test_uuids(uuid: str, why: str) -> None:
    """It becomes a part of device IDs and of lists with commas."""
    assert odd_uuid(uuid) == why


@pytest.mark.parametrize(("model", "is_odd"), [("NVIDIA A10", False), ("", True), (" ", True), ("A\x0010", True)])
def test_product_names(model: str, *, is_odd: bool) -> None:
    """Pods ask for GPUs by it."""
    assert bool(odd_model(model)) is is_odd


@pytest.mark.parametrize(
    ("total", "reserved", "why"),
    [
        (24 * _GIB, _GIB, ""),
        (1, 0, ""),
        (LARGEST_BYTES, 0, ""),
        (0, 0, "its memory cannot be right: 0 bytes"),
        (0, 5, "its memory cannot be right: 0 bytes"),
        (-1, 0, "its memory cannot be right: -1 bytes"),
        (LARGEST_BYTES + 1, 0, f"its memory cannot be right: {LARGEST_BYTES + 1} bytes"),
        (5, 5, "its memory cannot be right: 5 of 5 bytes are reserved"),
        (5, -1, "its memory cannot be right: -1 of 5 bytes are reserved"),
    ],
)
def test_memory(total: int, reserved: int, why: str) -> None:
    """A part of it may be reserved, but not all."""
    assert odd_memory(MemorySize(total, reserved)) == why


@pytest.mark.parametrize(
    ("number", "expected"), [(0, 0), (1023, 1023), (1024, None), (-1, None), (0xFFFFFFFF, None), (None, None)]
)
def test_numa_nodes(number: int | None, expected: int | None) -> None:
    """One that the kernel cannot have is not known."""
    assert numa_node_of(number) == expected
