"""When memory in use outside of the ledger is news."""

import pytest

from device_plugin.reporting.inventory import SHRINK_AFTER_S, OutsideUse
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB

A = GpuUuid("GPU-a")


@pytest.mark.parametrize(
    ("published", "measured", "expected"),
    [
        (0, 0, 0),
        (0, 1, 1),
        (1, 1024, 1),
        (1000, 1025, 1025),
        (1025, 2048, 1025),
        (1025, 1000, 1025),
        (0, 5, 5),
        (5, 0, 5),
    ],
)
def test_only_more_units_are_news_at_once(published: int, measured: int, expected: int) -> None:
    """A unit that is begun is a unit that is used."""
    assert OutsideUse(UNIT_MIB).wanted({A: published}, {A: measured}, 0.0) == {A: expected}


@pytest.mark.parametrize(
    ("published", "measured", "expected"),
    [(5, 0, 0), (1025, 1000, 1025), (1025, 896, 896), (1025, 897, 1025), (4096, 0, 0), (900, 100, 900)],
)
def test_less_is_news_when_it_lasts_and_is_clear(published: int, measured: int, expected: int) -> None:
    """By an eighth of a unit; and not before the time is over."""
    use = OutsideUse(UNIT_MIB)
    early = [use.wanted({A: published}, {A: measured}, now_s) for now_s in (0.0, SHRINK_AFTER_S - 1)]
    assert early == [{A: published}] * 2
    assert use.wanted({A: published}, {A: measured}, SHRINK_AFTER_S) == {A: expected}


def test_the_time_starts_again_when_it_was_not_low() -> None:
    """Low, high, low."""
    use = OutsideUse(UNIT_MIB)
    sizes = [(0.0, 0), (30.0, 2000), (31.0, 0), (61.0, 0), (90.0, 0), (91.0, 0)]
    assert [use.wanted({A: 2000}, {A: size}, now_s)[A] for now_s, size in sizes] == [2000] * 5 + [0]


def test_gpus_that_are_not_measured_stay_as_they_are() -> None:
    """And are not low."""
    use = OutsideUse(UNIT_MIB)
    sizes: list[dict[GpuUuid, int]] = [{A: 0}, {}, {A: 0}]
    assert [use.wanted({A: 2000}, size, 40.0 * turn)[A] for turn, size in enumerate(sizes)] == [2000] * 3


def test_the_floor() -> None:
    """From one write to the next."""
    use = OutsideUse(UNIT_MIB, floor_s=30.0)
    before = use.wait_s(100.0)
    use.written(100.0)
    assert (before, use.wait_s(110.0), use.wait_s(131.0)) == (0.0, 20.0, 0.0)


def test_the_next_change_is_known() -> None:
    """So that nobody has to look all the time."""
    use = OutsideUse(UNIT_MIB)
    before = use.next_change_s(0.0)
    use.wanted({A: 2000}, {A: 0}, 10.0)
    assert (before, use.next_change_s(30.0)) == (None, SHRINK_AFTER_S - 20.0)
