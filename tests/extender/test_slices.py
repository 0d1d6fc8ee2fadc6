"""A busy thread gives others their turn, and no more often than needed."""

import threading
import time

from extender.slices import Slices


def test_it_sleeps_only_when_the_slice_is_over() -> None:
    """The first time at once; then not before the slice has passed."""
    slices = Slices(slice_s=0.2, pause_s=0.05)
    started_s = time.perf_counter()
    slices.breathe()
    first_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    for _ in range(100):
        slices.breathe()
    assert first_s >= 0.05
    assert time.perf_counter() - started_s < first_s + 0.2


def test_others_get_their_turn_beside_work_without_end() -> None:
    """A thread that breathes lets another count, although it never stops by itself."""
    stop = threading.Event()
    slices = Slices()

    def work() -> None:
        while not stop.is_set():
            slices.breathe()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    turns = 0
    until_s = time.perf_counter() + 0.3
    while time.perf_counter() < until_s:
        time.sleep(0)
        turns += 1
    stop.set()
    thread.join(5.0)
    assert turns > 60  # at 5 ms a turn there were 60 at most
    assert not thread.is_alive()
