"""Whether the driver's answers for memory tell the reserved part apart."""

import pytest

from bench.gpu_day.stages.facts import MemoryAnswers


def answers(used_v1_mib: float, used_v2_mib: float, free_v2_mib: float) -> MemoryAnswers:
    """Of a GPU of 15360 MiB of which 450 are reserved."""
    return MemoryAnswers(15360.0, used_v1_mib, 15360.0, used_v2_mib, free_v2_mib, 450.0)


@pytest.mark.parametrize(
    ("memory", "is_apart", "has_reserved"),
    [
        (answers(1450, 1000, 13910), True, True),
        (answers(1000, 1000, 13910), True, False),
        (answers(1450, 1450, 13910), False, False),
        (answers(1480, 1000, 13910), True, True),
    ],
    ids=["as documented", "version 1 without it", "version 2 has both", "another process came between"],
)
def test_what_used_means(memory: MemoryAnswers, *, is_apart: bool, has_reserved: bool) -> None:
    """Up to what others may take between the two questions."""
    assert (memory.used_is_apart_from_reserved, memory.used_v1_has_reserved) == (is_apart, has_reserved)
