"""Measures the GPUs at regular intervals and keeps the newest measurement for metrics, reports and enforcement.

Readers get a value that is already there: only this loop asks the driver.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from device_plugin.gpus.gpu import NO_ANSWER, GpuSourceClosedError, GpuSourceError, GpuSourceStalledError
from device_plugin.gpus.readings import GpuFacts, GpuReading, ReadingSource
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.usage.accounting.processes import Locator, Measured, account
from device_plugin.usage.accounting.unseen import LastingRecord, UnseenRecord
from device_plugin.usage.accounting.usage import ContainerUse, Usage
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, UnitMib
from extender.kube.retries import Backoff

_LOG = logging.getLogger(__name__)

_STALE_INTERVALS = 3
NO_PODS = "the node's pods are not known yet"
HIDDEN = "processes that the driver lists cannot be looked up in /proc"
STRAY = "a process of a pod is in none of the pod's containers, as in a sandbox such as gVisor"
UNLISTED = "memory is in use, and the driver lists no process"

UseKey = tuple[ContainerKey, GpuUuid]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured last.

    Args:
        at_s: when, monotonic; None before the first time.
        readings: of each GPU.
        facts: of each GPU that was ever read.
        uses: of each container on each GPU.
        peaks_mib: the most memory that each container was seen to use of each GPU.
        outside_mib: memory in use that no pod was given; where it is not known at the moment, as last seen, or what is
            in use beyond the shares of all pods, whichever is more.
        unknown: why it is not known what processes use of a GPU.
        problem: why the newest attempt failed; empty when it succeeded.
        guests: UIDs of the pods that run on a GPU of which they were given nothing.
    """

    at_s: float | None = None
    readings: Mapping[GpuUuid, GpuReading] = field(default_factory=dict)
    facts: Mapping[GpuUuid, GpuFacts] = field(default_factory=dict)
    uses: tuple[ContainerUse, ...] = ()
    peaks_mib: Mapping[UseKey, int] = field(default_factory=dict)
    outside_mib: Mapping[GpuUuid, int] = field(default_factory=dict)
    unknown: Mapping[GpuUuid, str] = field(default_factory=dict)
    problem: str = "not measured yet"
    guests: Mapping[GpuUuid, frozenset[str]] = field(default_factory=dict)


class Meter:
    """Measures one node; it is also its `UsageReader`. `run` it in a thread of its own.

    Args:
        source: where readings come from.
        locator: looks up the owners of processes.
        pods: the node's pods by UID, None while they are not known.
        interval_s: time between two measurements.
        unit_mib: size of a memory unit.
        clock_s: monotonic seconds.
        sampled: memory in use on each GPU as the health queries last saw it, which counts while `source` fails.
    """

    def __init__(
        self,
        *,
        source: ReadingSource,
        locator: Locator,
        pods: Callable[[], Mapping[str, BoundPod] | None],
        interval_s: float,
        unit_mib: UnitMib = DEFAULT_UNIT_MIB,
        clock_s: Callable[[], float] = time.monotonic,
        sampled: Callable[[], Iterable[GpuReading]] = tuple,
    ) -> None:
        self._source = source
        self._sampled = sampled
        self._unit_mib = unit_mib
        self._locator = locator
        self._pods = pods
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._backoff = Backoff(first_s=min(0.5, interval_s), last_s=max(30.0, interval_s))
        self._lock = threading.Lock()
        self._failures = 0
        self._has_ended = False
        self._blind: Mapping[GpuUuid, str] = {}
        self._missing: set[int] = set()
        self._unseen = UnseenRecord()
        self._beyond_shares = UnseenRecord()
        self._measured_mib: Mapping[GpuUuid, int] = {}
        self._doubts: LastingRecord[tuple[GpuUuid, str]] = LastingRecord()
        self._newest = Measurement()
        self.on_measured: Callable[[], None] = lambda: None

    @property
    def newest(self) -> Measurement:
        """The last measurement; one that is older than a few intervals has that as its problem."""
        newest = self._newest
        if newest.at_s is None or newest.problem:
            return newest
        is_stale = self._clock_s() - newest.at_s > _STALE_INTERVALS * self._interval_s + 1.0
        return self._failed(newest, NO_ANSWER) if is_stale else newest

    def usage(self) -> Usage:
        """What every container uses, as last measured; the first call measures."""
        if self._newest.at_s is None:
            self.step()
        newest = self.newest
        return Usage(newest.uses, newest.unknown, newest.problem if newest.at_s is None else "")

    def run(self, stop: threading.Event) -> None:
        """Measure repeatedly until told to stop."""
        try:
            while not stop.is_set():
                stop.wait(self.step())
        finally:
            with self._lock:
                self._has_ended = True
                self._source.close()

    def begin_anew(self) -> float:
        """A `step` after a while in which much may have changed unseen: what is in use now counts at once."""
        with self._lock:
            self._unseen = UnseenRecord()
        return self.step()

    def step(self) -> float:
        """Measure once, unless `run` has ended; returns the seconds to wait before the next time."""
        with self._lock:
            if self._has_ended:
                # Whoever still asks must not open the source again.
                return self._interval_s
            try:
                readings = self._source.read()
            except GpuSourceError as error:
                wait_s = self._fail(error)
            else:
                wait_s, self._failures = self._interval_s, 0
                self._take(readings)
        self.on_measured()
        return wait_s

    def _fail(self, error: GpuSourceError) -> float:
        """Note that no GPU could be measured; returns the seconds to wait before the next time."""
        if self._newest.problem != str(error):
            _LOG.warning("GPUs cannot be measured: %s", error)
        self._newest = self._failed(self._newest, str(error))
        if isinstance(error, GpuSourceClosedError):
            self._failures = 0
            return self._interval_s
        self._take_sampled(str(error))
        if isinstance(error, GpuSourceStalledError):
            self._failures = 0
            return self._interval_s
        self._failures += 1
        return self._backoff.delay_s(self._failures, random.random())  # noqa: S311 - spreads retries, no secret

    def _take_sampled(self, problem: str) -> None:
        """Count memory in use that cannot be the pods' own as outside, while the processes are not known."""
        pods = self._pods()
        if pods is None:
            return
        found = account(self._sampled(), {}, pods, problem, self._unit_mib)
        beyond_mib = self._beyond_shares.note(found.unseen_mib)
        outside_mib = {uuid: max(size_mib, self._measured_mib.get(uuid, 0)) for uuid, size_mib in beyond_mib.items()}
        self._newest = replace(
            self._newest,
            outside_mib=MappingProxyType({**self._newest.outside_mib, **outside_mib}),
            unknown=MappingProxyType({**self._newest.unknown, **found.unknown}),
        )

    def _take(self, readings: tuple[GpuReading, ...]) -> None:
        known = self._pods()
        pods, obstacle = known or {}, NO_PODS if known is None else self._locator.obstacle()
        pids = {process.pid for reading in readings for process in reading.processes or ()}
        owners = {} if obstacle else self._locator.locate(pids)
        given = [reading for reading in readings if not reading.is_sliced]
        found = account(given, owners, pods, obstacle, self._unit_mib)
        hidden = self._hidden(readings, set() if obstacle else pids - owners.keys())
        unknown = {**hidden, **self._doubtful(found), **found.unknown}
        self._tell(unknown)
        before = self._newest
        if known is not None:
            self._measured_mib = {**self._measured_mib, **self._outside_mib(found)}
        self._beyond_shares = UnseenRecord()
        self._newest = Measurement(
            at_s=self._clock_s(),
            readings=MappingProxyType({reading.uuid: reading for reading in readings}),
            facts=MappingProxyType({facts.uuid: facts for facts in self._source.facts()}),
            uses=found.uses,
            peaks_mib=MappingProxyType(_peaks(before.peaks_mib, found.uses, pods)),
            outside_mib=MappingProxyType({**before.outside_mib, **self._measured_mib}),
            unknown=MappingProxyType(unknown),
            problem="",
            guests=MappingProxyType(dict(found.guests)),
        )

    def _outside_mib(self, found: Measured) -> dict[GpuUuid, int]:
        """MiB of each GPU that are used outside, by processes and by nobody who is known."""
        unseen_mib = self._unseen.note(found.unseen_mib)
        uuids = found.outside_mib.keys() | unseen_mib.keys()
        return {uuid: found.outside_mib.get(uuid, 0) + unseen_mib.get(uuid, 0) for uuid in uuids}

    def _doubtful(self, found: Measured) -> dict[GpuUuid, str]:
        """GPUs on which it has not been clear for a while what each container uses.

        For a while it never is: the status of a pod names a new container seconds after its first process runs.
        """
        doubts = [(uuid, STRAY) for uuid in found.strays] + [(uuid, UNLISTED) for uuid in found.unlisted]
        return dict(sorted(self._doubts.note(doubts, self._clock_s())))

    def _hidden(self, readings: tuple[GpuReading, ...], missing: set[int]) -> dict[GpuUuid, str]:
        """GPUs with processes that could not be looked up twice in a row, and so have not just ended."""
        lasting, self._missing = missing & self._missing, missing
        return {
            reading.uuid: HIDDEN
            for reading in readings
            if any(process.pid in lasting for process in reading.processes or ())
        }

    def _tell(self, unknown: Mapping[GpuUuid, str]) -> None:
        for uuid, why in unknown.items():
            if self._blind.get(uuid) != why and why != NO_PODS:
                _LOG.warning("GPU %s: its use by containers is not known: %s", uuid, why)
        self._blind = dict(unknown)

    @staticmethod
    def _failed(before: Measurement, problem: str) -> Measurement:
        """What remains valid of a measurement when the next one failed: peaks and facts, but no current values."""
        gone = dict.fromkeys((*before.readings, *before.unknown), problem)
        return Measurement(
            at_s=before.at_s,
            facts=before.facts,
            peaks_mib=before.peaks_mib,
            outside_mib=before.outside_mib,
            unknown=MappingProxyType(gone),
            problem=problem,
        )


def _peaks(
    before: Mapping[UseKey, int], uses: tuple[ContainerUse, ...], pods: Mapping[str, BoundPod]
) -> dict[UseKey, int]:
    """The most memory that each container of an existing pod was seen to use."""
    peaks = {key: peak for key, peak in before.items() if key[0].uid in pods}
    for use in uses:
        peaks[use.key, use.gpu] = max(peaks.get((use.key, use.gpu), 0), use.used_mib)
    return peaks
