"""Takes GPUs out of use after a critical XID error of the driver, until they have been quiet for a while.

XID numbers: https://docs.nvidia.com/deploy/xid-errors/
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.sampling.nvml_session import NvmlSession, text
from extender.contract.units import GpuUuid
from extender.kube.retries import Backoff

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Errors of the application that was running, not of the GPU."""

QUIET_S = 300.0
"""A GPU without another critical XID for this long, and for which the driver asks no recovery, is used again."""


@dataclass(frozen=True, slots=True)
class _Seen:
    xid: int
    at_s: float


class XidRecord:
    """The last critical XID of every GPU; times are monotonic and come from the caller.

    `ignored` are XIDs that do not affect a GPU's health, in addition to those of applications.
    """

    def __init__(self, ignored: frozenset[int] = frozenset()) -> None:
        self._ignored = APPLICATION_XIDS | ignored
        self._seen: dict[GpuUuid | None, _Seen] = {}

    def note(self, uuid: GpuUuid | None, xid: int, at_s: float) -> bool:
        """Record an XID, for all GPUs when the driver does not say which; False when it is ignored."""
        if xid in self._ignored:
            return False
        self._seen[uuid] = _Seen(xid, at_s)
        return True

    def problem(self, uuid: GpuUuid, now_s: float, *, needs_recovery: bool) -> str:
        """Why a GPU must not be used; empty when it may.

        `needs_recovery` is whether the driver asks for a reset or a reboot: as long as it does, waiting does not help.
        """
        for key in (uuid, None):
            seen = self._seen.get(key)
            if seen is not None and (now_s - seen.at_s < QUIET_S or needs_recovery):
                return f"XID {seen.xid}"
        return "the driver asks for a recovery action" if needs_recovery else ""


_LOG = logging.getLogger(__name__)

_WAIT_MS = 500
"""How long one wait for an event may take, and thus ending the thread."""

_JOIN_S = 5.0


class XidListener:
    """Waits for XIDs of all GPUs.

    Args:
        load: imports the pynvml module.
        on_xid: called in the listener's thread with the GPU, None when the driver does not say which, and the number.
    """

    def __init__(self, load: Callable[[], Any], on_xid: Callable[[GpuUuid | None, int], None]) -> None:
        self._session = NvmlSession(load)
        self._on_xid = on_xid
        self._stop = threading.Event()
        self._renew = threading.Event()
        self._backoff = Backoff(first_s=0.25, last_s=30.0)
        self._thread: threading.Thread | None = None
        self._problem = ""

    def start(self) -> None:
        """Start listening, if not yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="nvml-xids", daemon=True)
            self._thread.start()

    def renew(self) -> None:
        """Register for all GPUs again, because some came or came back; returns at once."""
        self._renew.set()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():
                _LOG.warning("NVML does not return from waiting for events")

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._listen()
                failures = 0
            except _NvmlFailed as error:
                failures += 1
                if str(error) != self._problem:
                    _LOG.warning("XIDs cannot be read: %s", error)
                self._problem = str(error)
            finally:
                self._session.end()
            if failures:
                self._stop.wait(self._backoff.delay_s(failures, 0.5))

    def _listen(self) -> None:
        """Take XIDs until the end, or until the GPUs have to be registered again."""
        try:
            nvml = self._session.start()
        except GpuSourceError as error:
            raise _NvmlFailed(str(error)) from error
        try:
            events = nvml.nvmlEventSetCreate()
            try:
                self._register(nvml, events)
                self._follow(nvml, events)
            finally:
                nvml.nvmlEventSetFree(events)
        except nvml.NVMLError as error:
            raise _NvmlFailed(str(error)) from error

    def _register(self, nvml: Any, events: Any) -> None:
        self._renew.clear()
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
            except nvml.NVMLError as error:
                _LOG.warning("GPU with index %d reports no XIDs: %s", index, error)

    def _follow(self, nvml: Any, events: Any) -> None:
        while not (self._stop.is_set() or self._renew.is_set()):
            try:
                event = nvml.nvmlEventSetWait(events, _WAIT_MS)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_TIMEOUT:
                    self._problem = ""
                    continue
                raise
            if event.eventType == nvml.nvmlEventTypeXidCriticalError:
                self._on_xid(_uuid(nvml, event.device), int(event.eventData))


class _NvmlFailed(Exception):  # noqa: N818 - says what happened; it never leaves this module
    """NVML failed where that is not expected."""


def _uuid(nvml: Any, device: Any) -> GpuUuid | None:
    try:
        return GpuUuid(text(nvml.nvmlDeviceGetUUID(device)))
    except nvml.NVMLError:
        return None
