"""A GPU that was unhealthy must stay well for a while before it is used again."""

from device_plugin.gpus.probation import Probation
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
