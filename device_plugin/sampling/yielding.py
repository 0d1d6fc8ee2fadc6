"""Closes NVML while nobody needs the GPUs, so that they can be reset, and now and then to look for GPUs that it lost.

A driver cannot be unloaded, nor a GPU be reset, while a process has NVML open. And NVML counts its users in a process:
it starts anew only after all of them have shut it down.
"""

import logging
import time
from collections.abc import Callable, Iterable

from device_plugin.gpus.gpu import CLOSED, GpuSample, GpuSource, GpuSourceStalledError
from device_plugin.gpus.renewal import Renewal
from device_plugin.sampling.bounded import DriverCalls

_LOG = logging.getLogger(__name__)

USED_AGAIN = "NVML is used again"
STUCK = "NVML cannot be closed: a call into the driver does not return"


class YieldingSource:
    """A `GpuSource` whose GPUs stay as they were last seen while NVML is closed.

    Args:
        source: the GPUs.
        calls: all that call the driver.
        may_close: whether these GPUs may be let go: all are cordoned, and no pod has one.
        has_lost: whether NVML shows some GPU no more, or calls it lost.
        is_stuck: whether a call that is none of `calls` does not return.
        tell: told when NVML is closed and used again.
        on_anew: called after the first sample of NVML that was started anew, before its GPUs are offered.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        source: GpuSource,
        calls: DriverCalls,
        *,
        may_close: Callable[[Iterable[GpuSample]], bool],
        has_lost: Callable[[], bool],
        is_stuck: Callable[[], bool],
        tell: Callable[[str], None],
        on_anew: Callable[[], object] = lambda: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._calls = calls
        self._may_close = may_close
        self._has_lost = has_lost
        self._is_stuck = is_stuck
        self._tell = tell
        self._on_anew = on_anew
        self._clock_s = clock_s
        self._renewal = Renewal()
        self._known: tuple[GpuSample, ...] = ()
        self._told = ""
        self._is_anew = False
        self.is_closed = False

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU.

        Raises:
            GpuSourceError: no GPU can be read.
        """
        if self._known and self._may_close(self._known):
            self.is_closed = self.is_closed or self._let_go()
            self._note(CLOSED if self.is_closed else STUCK)
            if self.is_closed:
                return self._known
        elif self.is_closed:
            self.is_closed = False
            self._note(USED_AGAIN)
        else:
            self._told = ""
            # Without all sessions closed it would not help, and cost the GPUs that answer.
            if not self._hangs() and self._renewal.is_due(self._clock_s(), has_lost=self._has_lost()):
                _LOG.info("NVML is started anew, to look for GPUs that it lost")
                self._let_go()
        self._calls.reopen()
        self._known = self._source.sample()
        if self._is_anew:
            # Much may have been begun, or moved, while nobody looked.
            self._is_anew = False
            self._on_anew()
        return self._known

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()

    def _hangs(self) -> bool:
        """Whether some call does not return, so that its session stays open."""
        return bool(self._calls.problem()) or self._is_stuck()

    def _let_go(self) -> bool:
        """Close NVML in all of the plugin; returns whether no session is left."""
        if self._hangs():
            return False
        self._is_anew = True
        try:
            self._calls.shut()
        except GpuSourceStalledError:
            return False
        return not self._is_stuck()

    def _note(self, text: str) -> None:
        if text != self._told:
            self._told = text
            _LOG.info("%s", text)
            self._tell(text)
