"""Samples the GPUs at regular intervals and tells every part of the plugin when they changed."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from device_plugin.gpus.devices import check_message, fitting
from device_plugin.gpus.gpu import Gpus, GpuSample, GpuSource, GpuSourceError, GpuSourceStalledError
from device_plugin.settings import SettingsError
from extender.contract.units import ContractError, UnitMib
from extender.kube.retries import Backoff

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.5

NO_ROOM = "the kubelet takes no longer list of devices: choose a larger --memory-unit-mib"


class GpuFeed:
    """The newest state of the GPUs; one thread samples, any number of threads wait for changes.

    While a source cannot be read at the start, the feed is empty and says why; one that fails later makes all its
    GPUs unhealthy until it works again.

    Args:
        source: where samples come from.
        unit_mib: size of a memory unit.
        interval_s: time between two samples.
        due: asks for a sample at once when it is set.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        source: GpuSource,
        unit_mib: UnitMib,
        interval_s: float,
        due: threading.Event | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._clock_s = clock_s
        self._failing_since_s: float | None = None
        self._unit_mib = unit_mib
        self._interval_s = interval_s
        self._backoff = Backoff(first_s=min(0.5, interval_s), last_s=30.0)
        self._changed = threading.Condition()
        self._gpus: Gpus | None = None
        self._version = 0
        self._failures = 0
        self._due = due or threading.Event()
        self.problem = "GPUs not read yet"
        self.left_out: Mapping[str, str] = {}
        """Why GPUs that came later are not offered, by NVML index."""

    @property
    def gpus(self) -> Gpus | None:
        """The GPUs, None until the source could first be read."""
        return self._gpus

    def failing_s(self) -> float:
        """How long the source has failed at each sample; 0 while it works, and while it does not answer at all."""
        since_s = self._failing_since_s
        return 0.0 if since_s is None else self._clock_s() - since_s

    def wait_newer(self, version: int, timeout_s: float) -> tuple[int, Gpus | None]:
        """The newest version and its GPUs, at once when newer than `version`, else after a change or the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout_s)
            return self._version, self._gpus

    def soon(self) -> None:
        """Ask for a sample now, because something is known to have changed; returns at once."""
        self._due.set()

    def touch(self) -> None:
        """Wake those who wait for a change: what they make of the GPUs has changed."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Sample until told to stop.

        Raises:
            SettingsError: the first sample shows that the settings cannot work.
        """
        try:
            while not stop.is_set():
                self._pause(self.step(), stop)
        finally:
            self._source.close()

    def _pause(self, length_s: float, stop: threading.Event) -> None:
        """Wait that long, or until a sample is asked for or `stop` is set."""
        deadline_s = time.monotonic() + length_s
        while not stop.is_set() and (left_s := deadline_s - time.monotonic()) > 0:
            if self._due.wait(min(left_s, _LOOK_S)):
                break
        self._due.clear()

    def step(self) -> float:
        """Sample once; returns the seconds to wait before the next time.

        Raises:
            SettingsError: the first sample shows that the settings cannot work.
        """
        try:
            samples = self._source.sample()
        except GpuSourceStalledError as error:
            self._failures, self._failing_since_s = 0, None
            self._fail(str(error), error.known)
            return self._interval_s
        except GpuSourceError as error:
            if self._failing_since_s is None:
                self._failing_since_s = self._clock_s()
            return self._failed(error, error.known)
        self._failing_since_s = None
        try:
            gpus = self._fitting(Gpus(self._unit_mib, samples))
        except (GpuSourceError, ContractError) as error:
            return self._failed(error)
        self._failures = 0
        self.problem = ""
        self._publish(gpus)
        return self._interval_s

    def _failed(self, error: Exception, known: tuple[GpuSample, ...] = ()) -> float:
        self._failures += 1
        self._fail(str(error), known)
        return self._backoff.delay_s(self._failures, random.random())  # noqa: S311 - spreads retries, no secret

    def _fitting(self, gpus: Gpus) -> Gpus:
        """The GPUs whose devices the kubelet can be told of; at the start it must be all of them."""
        before = self._gpus
        if gpus == before:
            self.left_out = {}
            return gpus
        try:
            if before is None:
                check_message(gpus)
                return gpus
            kept = fitting(gpus, {sample.uuid for sample in before})
        except ValueError as error:
            if before is None:
                raise SettingsError(str(error)) from error
            raise GpuSourceError(str(error)) from error
        left_out = {str(sample.index): NO_ROOM for sample in gpus if kept.get(sample.uuid) is None}
        for index in left_out.keys() - self.left_out.keys():
            _LOG.warning("GPU with index %s is left out: %s", index, NO_ROOM)
        self.left_out = left_out
        return kept

    def _fail(self, problem: str, known: tuple[GpuSample, ...]) -> None:
        if problem != self.problem:
            _LOG.error("GPUs cannot be read: %s", problem)
        self.problem = problem
        if self._gpus is not None:
            lost = known or tuple(replace(sample, healthy=False, reason=problem) for sample in self._gpus)
            self._publish(Gpus(self._unit_mib, lost))

    def _publish(self, gpus: Gpus) -> None:
        before = self._gpus
        if before == gpus:
            return
        known = {} if before is None else {sample.uuid: sample.healthy for sample in before}
        for sample in gpus:
            if known.get(sample.uuid, not sample.healthy) != sample.healthy:
                state = "healthy" if sample.healthy else f"unhealthy: {sample.reason}"
                _LOG.info("GPU %s (%s, %d MiB) is %s", sample.uuid, sample.model, sample.memory_mib, state)
        for uuid in known.keys() - {sample.uuid for sample in gpus}:
            _LOG.warning("GPU %s is gone", uuid)
        with self._changed:
            self._gpus = gpus
            self._version += 1
            self._changed.notify_all()
