"""An answer is a value or a failure, or neither."""

import pytest

from device_plugin.gpus.answers import MemorySize, Told


def test_usable_memory_is_without_the_reserved_part() -> None:
    """Where the driver says how much that is."""
    assert [MemorySize(100, 7).usable, MemorySize(100).usable] == [93, 100]


@pytest.mark.parametrize(("value", "trouble", "is_lost"), [(1, "GPU is lost", True), (None, "", True)])
def test_an_answer_is_no_failure(value: int | None, trouble: str, *, is_lost: bool) -> None:
    """Nor is a GPU lost without a word."""
    with pytest.raises(ValueError, match="expected"):
        Told(value, trouble, is_lost)
