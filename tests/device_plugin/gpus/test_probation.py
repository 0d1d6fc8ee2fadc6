"""A GPU that was unhealthy must stay well for a while before it is used again."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from device_plugin.gpus.probation import CHANGES, WINDOW_S, Probation
from extender.contract.units import GpuUuid

A = GpuUuid("GPU-a")
ON_PROBATION = "on probation for 30 s after: XID 79"


def judged(probation: Probation, *looks: tuple[float, bool]) -> list[str]:
    """What is said at each look: its time, and whether the GPU is well."""
    return [
        probation.judge(A, healthy=healthy, reason="" if healthy else "XID 79", now_s=at_s) for at_s, healthy in looks
    ]


def test_a_gpu_that_was_always_well_is_used_at_once() -> None:
    """A start of the plugin is no recovery."""
    assert judged(Probation(30.0), (0.0, True)) == [""]


def test_it_comes_back_by_itself_after_its_probation() -> None:
    """With one constant text, so that nothing is written each second."""
    looks = [(0.0, False), (10.0, True), (39.9, True), (40.0, True), (41.0, True)]
    assert judged(Probation(30.0), *looks) == ["XID 79", ON_PROBATION, ON_PROBATION, "", ""]


def test_a_relapse_starts_the_probation_anew() -> None:
    """However short it was."""
    looks = [(0.0, False), (10.0, True), (30.0, False), (31.0, True), (50.0, True), (61.0, True)]
    assert judged(Probation(30.0), *looks) == ["XID 79", ON_PROBATION, "XID 79", ON_PROBATION, ON_PROBATION, ""]


def test_without_probation_it_is_used_at_once() -> None:
    """0 seconds."""
    assert judged(Probation(0.0), (0.0, False), (0.1, True)) == ["XID 79", ""]


def test_a_gpu_that_vanished_while_on_probation_starts_it_anew() -> None:
    """It is remembered that it was ill, not that it was well before it went."""
    probation = Probation(30.0)
    judged(probation, (0.0, False), (10.0, True))
    probation.forget_others([])
    assert judged(probation, (45.0, True)) == [ON_PROBATION]


def test_a_reason_that_flaps_stays_as_it_is() -> None:
    """Each change is written to the API server; the GPU is out all the while."""
    found = judged(Probation(30.0), *((float(at_s), at_s % 2 == 1) for at_s in range(20)))
    assert found == ["XID 79", ON_PROBATION, "XID 79", *[ON_PROBATION] * 17]


def test_the_newest_reason_comes_when_its_time_has() -> None:
    """What was held back is not lost."""
    probation = Probation(30.0)
    reasons = [("XID 48", "XID 79")[at_s % 2] for at_s in range(10)]
    shown = [probation.judge(A, healthy=False, reason=reason, now_s=float(at_s)) for at_s, reason in enumerate(reasons)]
    late = [probation.judge(A, healthy=False, reason="lost", now_s=WINDOW_S + at_s) for at_s in (0.9, 1.0)]
    assert (shown[-1], late) == ("XID 79", ["XID 79", "lost"])


@given(
    st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from(["", "XID 48", "XID 79", "lost"])), max_size=60),
    st.floats(0.0, 60.0),
)
def test_whatever_the_answers_few_reasons_are_shown_in_a_minute(
    answers: list[tuple[float, str]], length_s: float
) -> None:
    """And a GPU that is ill is never shown as well."""
    probation, now_s = Probation(length_s), 0.0
    shown: list[tuple[float, str]] = [(0.0, "")]
    for pause_s, reason in answers:
        now_s += pause_s
        said = probation.judge(A, healthy=not reason, reason=reason, now_s=now_s)
        assert said or not reason
        shown.append((now_s, said))
    replaced_s = [at_s for (_, old), (at_s, new) in pairwise(shown) if old and new and old != new]
    returns_s = [at_s for (_, old), (at_s, new) in pairwise(shown) if old and not new]
    for start_s in replaced_s:
        assert sum(start_s <= at_s < start_s + WINDOW_S for at_s in replaced_s) <= CHANGES
    assert all(later_s - earlier_s >= length_s for earlier_s, later_s in pairwise(returns_s))
