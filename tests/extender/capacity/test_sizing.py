"""Size advice follows what was really used, packs better, and never guesses."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from extender.capacity.sizing import SizeAdvice, Use, advise_sizes
from extender.contract.units import UnitMib

GIB = UnitMib(1024)


def _uses(
    workload: str, pods: int, units: int, peak: float | None, *, whole: bool = False, capacity: int = 16
) -> list[Use]:
    peak_mib = None if peak is None else 1024 * peak
    return [Use("ml", workload, f"{workload}-{at}", units, whole, capacity, peak_mib) for at in range(pods)]


def _advice(*groups: list[Use], headroom: float = 0.0) -> dict[str, SizeAdvice]:
    found = advise_sizes([use for group in groups for use in group], GIB, headroom=headroom)
    return {one.workload: one for one in found.workloads}


def test_a_share_just_above_a_half_had_better_be_a_half() -> None:
    """Ten of 9 need ten GPUs, ten of 8 need five; less than 8 saves nothing more until three fit."""
    one = _advice(_uses("llm", 10, 9, 6.0))["llm"]
    assert (one.better_units, round(one.gpus_saved, 6), one.verdict) == (8, 5.0, "too large")
    assert _advice(_uses("llm", 12, 9, 5.0))["llm"].better_units == 5


def test_the_headroom_is_left() -> None:
    """A peak of 7.9 with a tenth on top does not fit into 8."""
    assert _advice(_uses("llm", 10, 9, 7.9), headroom=0.1)["llm"].better_units is None
    assert _advice(_uses("llm", 10, 9, 7.9))["llm"].better_units == 8


def test_a_size_that_costs_no_less_is_left_alone() -> None:
    """Halves are fine, used or not, as long as no third one fits."""
    one = _advice(_uses("llm", 10, 8, 6.0))["llm"]
    assert (one.better_units, one.verdict, one.least_units) == (None, "good", 6)


def test_company_makes_a_size_worth_it() -> None:
    """Of 12 down to 10: with 6 from others beside it a GPU is full."""
    advice = _advice(_uses("llm", 10, 12, 9.5), _uses("small", 10, 6, 6.0))
    assert (advice["llm"].better_units, round(advice["llm"].gpus_saved, 6)) == (10, 5.0)


def test_a_whole_gpu_of_which_a_part_is_used_becomes_a_share() -> None:
    """Seven of 80 at least, so eleven fit on one."""
    one = _advice(_uses("notebook", 11, 80, 6.5, whole=True, capacity=80))["notebook"]
    assert (one.whole, one.better_units, round(one.gpus_saved, 6)) == (True, 7, 10.0)


def test_who_uses_more_than_asked_for_is_told_to_ask_for_more() -> None:
    """Even though it costs."""
    one = _advice(_uses("llm", 4, 4, 5.5))["llm"]
    assert (one.better_units, one.verdict, one.gpus_saved < 0) == (6, "too small", True)


def test_half_a_gpu_is_tried_whatever_the_company() -> None:
    """One small pod beside two of 41 of 80 does not hide that two of 40 would share a GPU."""
    advice = _advice(_uses("llm", 2, 41, 37.0, capacity=80), _uses("small", 1, 12, 12.0, capacity=80))
    assert (advice["llm"].better_units, round(advice["llm"].gpus_saved, 3)) == (40, 0.833)


def test_whole_gpus_of_several_sizes_are_one_wish() -> None:
    """Those of the larger size are not counted as if they held the smaller one's units already."""
    mixed = [*_uses("nb", 3, 16, 3.9, whole=True), *_uses("nb-large", 1, 80, 3.9, whole=True, capacity=80)]
    (one,) = advise_sizes([replace(use, workload="nb") for use in mixed], GIB, headroom=0.0).workloads
    assert (one.units, one.better_units, round(one.gpus_saved, 6)) == (16, 4, round(4 - 3 / 4 - 1 / 20, 6))


def test_headroom_makes_nobody_ask_for_more() -> None:
    """A share that was just enough is good."""
    one = _advice(_uses("llm", 4, 8, 7.9), headroom=0.5)["llm"]
    assert (one.better_units, one.least_units, one.verdict) == (None, 8, "good")


def test_unknown_stays_unknown() -> None:
    """One known pod speaks for its workload, and how many are known is said."""
    assert _advice(_uses("llm", 4, 9, None))["llm"] == SizeAdvice("ml", "llm", 4, 4, 0, 9, whole=False, capacity=16)
    one = _advice([*_uses("llm", 9, 9, None), *_uses("llm", 1, 9, 3.0)])["llm"]
    assert (one.known, one.gpus, one.verdict) == (1, 10, "too large")


def test_the_largest_peak_counts_over_all_pods_and_gpus() -> None:
    """A pod on two GPUs is one pod on two GPUs."""
    uses = [Use("ml", "train", "train-0", 9, False, 16, peak) for peak in (2048.0, 7000.0)]
    one = advise_sizes(uses, GIB, headroom=0.0).workloads[0]
    assert (one.pods, one.gpus, one.least_units) == (1, 2, 7)


def test_all_advice_together_is_counted_once() -> None:
    """From ten GPUs to five."""
    found = advise_sizes(_uses("llm", 10, 9, 6.0), GIB, headroom=0.0)
    assert (round(found.needed_gpus, 6), round(found.needed_gpus_after, 6)) == (10.0, 5.0)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 16), st.none() | st.floats(0.0, 16.0)), max_size=5),
    st.floats(0.0, 0.5),
)
def test_advice_never_goes_below_what_was_used(groups: list[tuple[int, int, float | None]], headroom: float) -> None:
    """A smaller size never needs more GPUs, and what is saved adds up."""
    uses = [use for at, (pods, units, peak) in enumerate(groups) for use in _uses(f"w{at}", pods, units, peak)]
    found = advise_sizes(uses, GIB, headroom=headroom)
    saved = found.needed_gpus - found.needed_gpus_after
    assert abs(sum(one.gpus_saved for one in found.workloads) - saved) < 1e-6
    for one in found.workloads:
        if one.peak_mib is None:
            assert one.better_units is None
        elif one.better_units is not None:
            assert one.better_units * 1024 >= min(one.peak_mib, 16 * 1024)
            if one.better_units < one.units:
                assert one.gpus_saved >= -1e-6


def test_mig_devices_count_as_parts_of_their_gpus() -> None:
    """Five of seven slices save five sevenths of a GPU."""
    uses = [replace(use, part_of_card=1 / 7) for use in _uses("llm", 10, 9, 6.0)]
    found = advise_sizes(uses, GIB, headroom=0.0)
    assert (round(found.needed_gpus * 7, 6), round(found.workloads[0].gpus_saved * 7, 6)) == (10.0, 5.0)
