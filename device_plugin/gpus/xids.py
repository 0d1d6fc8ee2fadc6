"""Takes GPUs out of use after a critical XID error of the driver, and knows whose XIDs are watched at all.

XID numbers: https://docs.nvidia.com/deploy/xid-errors/
"""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Errors of the application that was running, not of the GPU."""

QUIET_S = 300.0
"""A GPU without another critical XID for this long, and for which the driver asks no recovery, is used again."""

MOST_PLACES = 128
"""Places on one GPU that are kept apart, more than it has instances; beyond that an XID concerns the GPU as a whole."""


@dataclass(frozen=True, slots=True)
class XidPlace:
    """Where an error happened, as far as the driver says: on a GPU, or in instances of a GPU in MIG mode."""

    uuid: GpuUuid | None = None
    gi: int | None = None
    ci: int | None = None

    def __str__(self) -> str:
        """Such as `GPU GPU-..., GPU instance 9, compute instance 0`."""
        instances = (("GPU", self.gi), ("compute", self.ci))
        return ", ".join(
            [
                f"GPU {self.uuid or '(unknown)'}",
                *(f"{kind} instance {number}" for kind, number in instances if number is not None),
            ]
        )

    def hits(self, uuid: GpuUuid, mig: MigDevice | None) -> bool:
        """Whether it may concern a GPU, or a MIG device: every ID that it names is that one's."""
        if mig is None:
            return self.uuid in (None, uuid)
        return self.uuid in (None, mig.parent) and self.gi in (None, mig.gi) and self.ci in (None, mig.ci)


@dataclass(frozen=True, slots=True)
class _Seen:
    xid: int
    at_s: float


class XidRecord:
    """The last critical XID of every GPU; times are monotonic and come from the caller. Not safe for several threads.

    `ignored` are XIDs that do not affect a GPU's health, in addition to those of applications.
    """

    def __init__(self, ignored: frozenset[int] = frozenset()) -> None:
        self._ignored = APPLICATION_XIDS | ignored
        self._seen: dict[XidPlace, _Seen] = {}

    def note(self, place: XidPlace, xid: int, at_s: float) -> bool:
        """Record an XID, for all that it may concern; False when it is ignored."""
        if xid in self._ignored:
            return False
        if place not in self._seen and self._is_full(place.uuid, at_s):
            place = XidPlace(place.uuid)
        self._seen[place] = _Seen(xid, at_s)
        return True

    def is_out(self, place: XidPlace, now_s: float) -> bool:
        """Whether all that an XID there concerns is out of use already, because of an earlier one."""
        earlier = (self._seen.get(each) for each in (place, XidPlace(place.uuid)))
        return any(seen is not None and now_s - seen.at_s < QUIET_S for seen in earlier)

    def _is_full(self, uuid: GpuUuid | None, now_s: float) -> bool:
        """Whether no more places on a GPU can be kept apart; those that no longer count are forgotten before that."""
        places = [place for place in self._seen if place.uuid == uuid and place.gi is not None]
        if len(places) < MOST_PLACES:
            return False
        old = [place for place in places if now_s - self._seen[place].at_s >= QUIET_S]
        for place in old:
            del self._seen[place]
        return not old

    def problem(
        self,
        uuid: GpuUuid,
        now_s: float,
        *,
        needs_recovery: bool,
        mig: MigDevice | None = None,
        since_s: float = -math.inf,
    ) -> str:
        """Why a GPU, or that MIG device, must not be used; empty when it may.

        `since_s` is when it may have come: an earlier XID of which the GPU is not known is not its. `needs_recovery` is
        whether the driver asks for a reset or a reboot: as long as it does, waiting does not help.
        """
        hits = [
            seen
            for place, seen in self._seen.items()
            if place.hits(uuid, mig) and (place.uuid is not None or seen.at_s >= since_s)
        ]
        for seen in sorted(hits, key=lambda each: each.at_s, reverse=True):
            if now_s - seen.at_s < QUIET_S or needs_recovery:
                return f"XID {seen.xid}"
        return "the driver asks for a recovery action" if needs_recovery else ""


NOT_YET = "not registered yet"
NOT_SHOWN = "NVML did not show it when the GPUs were registered"

_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 300.0


@dataclass(slots=True)
class WatchList:
    """Which GPUs' XIDs should be watched, and which are; times are monotonic and come from the caller.

    GPUs whose registration failed are due again after pauses that double, from half a second to five minutes.
    """

    _wanted: frozenset[GpuUuid] = frozenset()
    _watched: set[GpuUuid] = field(default_factory=set)
    _whys: dict[GpuUuid, str] = field(default_factory=dict)
    _failures: int = 0
    _next_s: float = 0.0

    def follow(self, uuids: Set[GpuUuid]) -> None:
        """Want exactly these; one that was away must be registered anew."""
        self._wanted = frozenset(uuids)
        self._watched &= self._wanted
        self._whys = {uuid: why for uuid, why in self._whys.items() if uuid in self._wanted}

    def registered(self, whys: Mapping[GpuUuid, str], now_s: float) -> dict[GpuUuid, str]:
        """Note which GPUs are watched from now on, and why the others are not; returns what is news of that."""
        self._watched = {uuid for uuid, why in whys.items() if not why}
        failed = {uuid: why for uuid, why in whys.items() if why}
        failed.update(dict.fromkeys(self._wanted - whys.keys(), NOT_SHOWN))
        news = {uuid: why for uuid, why in failed.items() if self._whys.get(uuid) != why}
        self._whys = failed
        self._failures = self._failures + 1 if failed else 0
        self._next_s = now_s + self._pause_s()
        return news

    def has_new(self) -> bool:
        """Whether a wanted GPU was never tried."""
        return not self._wanted <= self._watched | self._whys.keys()

    def due(self, now_s: float) -> frozenset[GpuUuid]:
        """The wanted GPUs that should be tried once more now."""
        failed = self._wanted & self._whys.keys()
        if not failed or now_s < self._next_s:
            return frozenset()
        self._failures += 1
        self._next_s = now_s + self._pause_s()
        return failed

    def missing(self, problem: str) -> dict[GpuUuid, str]:
        """Why wanted GPUs are not watched; `problem` is what keeps all from it, if anything does."""
        found = {uuid: self._whys.get(uuid, NOT_YET) for uuid in self._wanted - self._watched}
        return {**dict.fromkeys(self._wanted, problem), **found} if problem else found

    def _pause_s(self) -> float:
        return min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self._failures, 16))
