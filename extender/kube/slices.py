"""Lets a busy thread work in slices, so that the threads that answer calls get the GIL in between.

CPython takes the GIL from a busy thread only after 5 ms (`sys.getswitchinterval`), and a call needs it several times:
next to a thread that never sleeps, a call of half a millisecond takes ten.
"""

import time

SLICE_S = 0.0003
PAUSE_S = 0.00005
"""Only a thread that sleeps is sure to release the GIL; the shortest sleep that the kernel has will do."""


class Slices:
    """`breathe` is called between any two steps of the work, by one thread.

    Where the work waits for something, `away` and `back` go around it: who has waited has given others their turn.
    """

    def __init__(self, slice_s: float = SLICE_S, pause_s: float = PAUSE_S) -> None:
        self._slice_s = slice_s
        self._pause_s = pause_s
        self._since_s = 0.0
        self._away_s = 0.0

    def breathe(self) -> None:
        """Sleep for a moment when the slice is over."""
        if time.perf_counter() - self._since_s >= self._slice_s:
            time.sleep(self._pause_s)
            self._since_s = time.perf_counter()

    def away(self) -> None:
        """What follows may wait."""
        self._away_s = time.perf_counter()

    def back(self) -> None:
        """It may have waited: then a new slice begins."""
        now_s = time.perf_counter()
        if now_s - self._away_s >= self._pause_s:
            self._since_s = now_s
