"""Closes NVML while nobody needs the GPUs, so that they can be reset, and now and then to look for GPUs that it lost.

A driver cannot be unloaded, nor a GPU be reset, while a process has NVML open. And NVML counts its users in a process:
it starts anew only after all of them have shut it down.
"""

import logging
import time
from collections.abc import Callable, Iterable

from device_plugin.gpus.gpu import CLOSED, GpuSample, GpuSource
from device_plugin.gpus.renewal import Renewal
from device_plugin.sampling.bounded import DriverCalls

_LOG = logging.getLogger(__name__)

USED_AGAIN = "NVML is used again"


class YieldingSource:
    """A `GpuSource` whose GPUs stay as they were last seen while NVML is closed.

    Args:
        source: the GPUs.
        calls: all that call the driver.
        may_close: whether these GPUs may be let go: all are cordoned, and no pod has one.
        has_lost: whether NVML shows some GPU no more, or calls it lost.
        tell: told when NVML is closed and used again.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        source: GpuSource,
        calls: DriverCalls,
        *,
        may_close: Callable[[Iterable[GpuSample]], bool],
        has_lost: Callable[[], bool],
        tell: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._calls = calls
        self._may_close = may_close
        self._has_lost = has_lost
        self._tell = tell
        self._clock_s = clock_s
        self._renewal = Renewal()
        self._known: tuple[GpuSample, ...] = ()
        self.is_closed = False

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU.

        Raises:
            GpuSourceError: no GPU can be read.
        """
        if self._known and self._may_close(self._known):
            if not self.is_closed:
                self._calls.shut()
                self.is_closed = True
                self._note(CLOSED)
            return self._known
        self._calls.reopen()
        if self.is_closed:
            self.is_closed = False
            self._note(USED_AGAIN)
        elif self._renewal.is_due(self._clock_s(), has_lost=self._has_lost()):
            _LOG.info("NVML is started anew, to look for GPUs that it lost")
            self._calls.shut()
            self._calls.reopen()
        self._known = self._source.sample()
        return self._known

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()

    def _note(self, text: str) -> None:
        _LOG.info("%s", text)
        self._tell(text)
