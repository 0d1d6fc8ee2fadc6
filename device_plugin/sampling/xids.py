"""Waits for the XIDs of all GPUs in a thread of its own, and knows whose they are when a GPU can't say so any more.

What one GPU answers costs the others nothing: one that cannot be registered is left out and tried again later.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any

from device_plugin.gpus.gpu import NO_ANSWER, GpuSourceError
from device_plugin.gpus.xids import WatchList, XidPlace
from device_plugin.sampling.nvml_asking import SeenGpu, ask, gpu_count, identify, pointer_of, slot_of, uuid_of
from device_plugin.sampling.nvml_session import NvmlSession
from extender.contract.units import GpuUuid
from extender.kube.retries import Backoff

_LOG = logging.getLogger(__name__)

_WAIT_MS = 500
"""How long one wait for an event may take, and thus ending the thread."""

_JOIN_S = 5.0
_SILENT_S = 10.0
"""A wait that takes so long has not returned when it should have."""
_NO_INSTANCE = 0xFFFFFFFF


class XidListener:
    """Waits for XIDs of all GPUs.

    Args:
        load: imports the pynvml module.
        on_xid: called in the listener's thread with where it happened, as far as that is known, and the number.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        on_xid: Callable[[XidPlace, int], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = NvmlSession(load)
        self._on_xid = on_xid
        self._clock_s = clock_s
        self._stop = threading.Event()
        self._renew = threading.Event()
        self._backoff = Backoff(first_s=0.25, last_s=30.0)
        self._owners = _Owners()
        self._lock = threading.Lock()
        self._watch = WatchList()
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._turned_s = clock_s()
        self._has_hung = False

    def start(self) -> None:
        """Start listening, if not yet; a thread that did not end when it was told to goes on when its call returns."""
        with self._lock:
            if self._stop.is_set():
                # Its session is from before the stop, and it must register anew.
                self._renew.set()
                self._stop.clear()
            if self._thread is None:
                self._turn()
                self._thread = threading.Thread(target=self._run, name="nvml-xids", daemon=True)
                self._thread.start()

    def renew(self) -> None:
        """Register for all GPUs again; returns at once."""
        self._renew.set()

    def follow(self, uuids: Set[GpuUuid]) -> None:
        """Say which GPUs answer at the moment; one that is new, or was away, is registered soon."""
        with self._lock:
            self._watch.follow(uuids)

    def unwatched(self) -> Mapping[GpuUuid, str]:
        """Why the XIDs of GPUs are not seen, for those that `follow` was told of."""
        is_silent = self._clock_s() - self._turned_s > _SILENT_S
        with self._lock:
            return self._watch.missing(self._problem or (NO_ANSWER if is_silent else ""))

    @property
    def is_stuck(self) -> bool:
        """Whether the thread did not end when it was told to, and has not gone on since: its session stays open."""
        return self._thread is not None and self._has_hung

    def stop(self) -> None:
        """End the thread and wait for it; one that `is_stuck` then ends when its call returns."""
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join(_JOIN_S)
            if thread.is_alive():
                self._has_hung = True
                _LOG.warning("NVML does not return from waiting for events")

    def _turn(self) -> None:
        """Note that the thread is not stuck."""
        self._turned_s, self._has_hung = self._clock_s(), False

    def _ends(self) -> bool:
        """Whether the thread is to end; if so, the next start needs another one."""
        with self._lock:
            if self._stop.is_set():
                self._thread = None
            return self._thread is None

    def _run(self) -> None:
        failures = 0
        while not self._ends():
            self._turn()
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
            self._listen_on(nvml)
        except GpuSourceError as error:
            raise _NvmlFailed(str(error)) from error

    def _listen_on(self, nvml: Any) -> None:
        try:
            events = self._registered(nvml)
            try:
                self._follow(nvml, events)
            finally:
                nvml.nvmlEventSetFree(events)
        except nvml.NVMLError as error:
            raise _NvmlFailed(str(error)) from error

    def _registered(self, nvml: Any) -> Any:
        """A set of events with every GPU that can be registered.

        Raises:
            NVMLError: no set can be made.
            GpuSourceError: the GPUs cannot be counted.
        """
        self._renew.clear()
        seen = [identify(nvml, index) for index in range(gpu_count(nvml))]
        owners = [self._owners.note(nvml, each) for each in seen]
        failed: dict[int, str] = {}
        while True:
            events = nvml.nvmlEventSetCreate()
            spoilt = self._register(nvml, events, seen, failed)
            if spoilt is None:
                break
            # A set is undefined after a registration that failed (nvmlDeviceRegisterEvents), so it takes a new one.
            nvml.nvmlEventSetFree(events)
        whys = {owner: failed.get(each.index, "") for owner, each in zip(owners, seen, strict=True) if owner}
        with self._lock:
            news = self._watch.registered(whys, self._clock_s())
        for uuid, why in news.items():
            _LOG.warning("GPU %s reports no XIDs: %s", uuid, why)
        return events

    def _register(self, nvml: Any, events: Any, seen: list[SeenGpu], failed: dict[int, str]) -> int | None:
        """Register the GPUs that are not in `failed`; the index of one that spoilt the set, which is then in there."""
        for each in seen:
            if each.index in failed:
                continue
            if each.handle is None:
                failed[each.index] = each.problem
                continue
            kinds = nvml.nvmlEventTypeXidCriticalError
            done = ask(nvml, {nvml.NVML_ERROR_NOT_SUPPORTED}, _register_one, nvml, each.handle, kinds, events)
            if done.value is None:
                failed[each.index] = done.trouble or "Not Supported"
            if done.trouble:
                return each.index
        return None

    def _follow(self, nvml: Any, events: Any) -> None:
        while not (self._stop.is_set() or self._renew.is_set() or self._has_more(nvml)):
            self._turn()
            try:
                event = nvml.nvmlEventSetWait(events, _WAIT_MS)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_TIMEOUT:
                    self._problem = ""
                    continue
                raise
            if event.eventType == nvml.nvmlEventTypeXidCriticalError:
                owner = self._owners.of(nvml, event.device)
                place = XidPlace(owner, _instance(event.gpuInstanceId), _instance(event.computeInstanceId))
                self._on_xid(place, int(event.eventData))

    def _has_more(self, nvml: Any) -> bool:
        """Whether a GPU can be registered that is not; one that failed is tried now and then, on a set of its own."""
        with self._lock:
            is_new, due = self._watch.has_new(), self._watch.due(self._clock_s())
        if is_new or not due:
            return is_new
        with _scratch(nvml) as events:
            found = [identify(nvml, index) for index in range(gpu_count(nvml))]
            tried = [each for each in found if each.uuid in due]
            return any(self._register(nvml, events, [each], {}) is None for each in tried)


def _register_one(nvml: Any, handle: Any, kinds: int, events: Any) -> bool:
    nvml.nvmlDeviceRegisterEvents(handle, kinds, events)
    return True


@contextmanager
def _scratch(nvml: Any) -> Iterator[Any]:
    """A set of events to try a registration on, so that the one in use is not spoilt."""
    events = nvml.nvmlEventSetCreate()
    try:
        yield events
    finally:
        nvml.nvmlEventSetFree(events)


class _Owners:
    """Whose a handle is. A GPU that fell off the bus no longer says its UUID, but its last XID comes after that."""

    def __init__(self) -> None:
        self._by_pointer: dict[int, GpuUuid] = {}
        self._by_slot: dict[str, GpuUuid] = {}

    def note(self, nvml: Any, seen: SeenGpu) -> GpuUuid | None:
        """Remember a GPU that is about to be registered; who it is, None when that is not known."""
        if seen.handle is None:
            return None
        slot, pointer = slot_of(nvml, seen.handle).value or "", pointer_of(seen.handle)
        uuid = seen.uuid or self._by_slot.get(slot)
        if uuid and pointer:
            self._by_pointer[pointer] = uuid
        if uuid and slot:
            self._by_slot[slot] = uuid
        return uuid or None

    def of(self, nvml: Any, device: Any) -> GpuUuid | None:
        """The GPU that an event names by its handle; None when it is not known."""
        if not device:
            return None
        told = uuid_of(nvml, device).value or self._by_pointer.get(pointer_of(device) or 0)
        return told or self._by_slot.get(slot_of(nvml, device).value or "")


def _instance(number: int) -> int | None:
    """ID of a GPU or compute instance; None where an event names none."""
    return None if number == _NO_INSTANCE else int(number)


class _NvmlFailed(Exception):  # noqa: N818 - says what happened; it never leaves this module
    """NVML failed where that is not expected."""
