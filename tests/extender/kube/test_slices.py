"""A busy thread gives others their turn, and no more often than needed."""

import threading
import time

import pytest

from extender.kube import slices as slices_module
from extender.kube.slices import Slices
from tests.fakes.reflecting import StandingClock

TURNS = 300
SWITCH_S = 0.005
"""For so long CPython lets a busy thread go on when another one wants its turn."""


class Sleeping:
    """What the module uses of `time`: a clock that stands but for sleeps, which are remembered."""

    def __init__(self) -> None:
        self.perf_counter = StandingClock()
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Take no time by any other clock."""
        self.slept_s.append(seconds)
        self.perf_counter.advance(seconds)


def test_it_sleeps_only_when_the_slice_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time at once; then not before the slice has passed."""
    clock = Sleeping()
    monkeypatch.setattr(slices_module, "time", clock)
    slices = Slices(slice_s=0.25, pause_s=0.0625)
    for _ in range(100):
        slices.breathe()
    assert clock.slept_s == [0.0625]
    clock.perf_counter.advance(0.125)
    slices.breathe()
    assert clock.slept_s == [0.0625]
    clock.perf_counter.advance(0.125)
    slices.breathe()
    assert clock.slept_s == [0.0625] * 2


def test_who_has_waited_begins_a_new_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others had their turn meanwhile; a wait shorter than a pause does not count."""
    clock = Sleeping()
    monkeypatch.setattr(slices_module, "time", clock)
    slices = Slices(slice_s=0.25, pause_s=0.0625)
    for waited_s, pauses in ((0.0625, 0), (0.03125, 1)):
        clock.perf_counter.advance(0.25)
        slices.away()
        clock.perf_counter.advance(waited_s)
        slices.back()
        slices.breathe()
        assert len(clock.slept_s) == pauses


def test_others_get_their_turn_beside_work_without_end() -> None:
    """A thread that breathes lets another count, although it never stops by itself.

    Told by the processor time of both, which other programs on this machine do not take: without a breath the busy
    thread burns a whole interval between any two turns of the other one.
    """
    stop = threading.Event()
    slices = Slices()

    def work() -> None:
        while not stop.is_set():
            slices.breathe()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    before_s = time.process_time()
    for _ in range(TURNS):
        time.sleep(0)
    took_s = time.process_time() - before_s
    stop.set()
    thread.join(30.0)
    assert took_s < TURNS * SWITCH_S / 2
    assert not thread.is_alive()
