"""Asks the API server, before a hold ends, whether kube-scheduler still waits for a volume to bind the pod.

From Kubernetes 1.35 on the pod itself says so; on older ones only its PersistentVolumeClaims do.
"""

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple, Protocol

from extender.decoding.volumes import awaited_on, claims_of
from extender.kube.client import claim_path, pod_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.attempts import LONGEST_S
from extender.scheduling.ledger.reservation import Reservation
from extender.server.state.state import State

_LOG = logging.getLogger(__name__)

AHEAD_S = 3.0
"""A hold is looked at so long before it ends; one of less than 12 s, in its last quarter."""

STEP_S = 10.0
"""A hold is kept so much longer at a time; once the volume is there, kube-scheduler binds within two seconds."""

UNREAD_S = 2.0
"""A hold that ends within this and was not looked at yet is kept for a step unseen: longer than one read may take. Of
one of less than 12 s, the last sixth."""

READ_TIMEOUT_S = 1.0
POD_S = 3.0
"""No more claims of a pod are read after that time."""

ROUND_S = 1.0
"""A round looks at nothing more after that time; whom it has not come to is the next one's first."""

PODS_A_ROUND = 16
CLAIMS_OF_A_POD = 16
_DENIED = frozenset({401, 403})


class ReadingApi(Protocol):
    """What this needs of the API server; see `extender.kube.client.KubeApi`."""

    def read(self, path: str, timeout_s: float = ...) -> bytes:
        """Read an object."""
        ...


class _Look(NamedTuple):
    at_s: float
    expires_s: float | None
    """When the hold ends for which nothing is awaited; None when something is, or nobody could say."""


class VolumeWaits:
    """Prolongs the holds of pods whose volumes are being made; for one thread only.

    What is not known in time does not end a hold: an API server that is away or slow, more holds that end at a time
    than can be looked at, claims beyond the sixteenth of a pod. Those that waited longest for a look come first.

    A pod that passed filter shortly before without coming to bind is not looked at: of its claims, some may be left
    from the attempt before.
    """

    def __init__(self, state: State, api: ReadingApi, clock: Callable[[], float]) -> None:
        self._state = state
        self._api = api
        self._clock = clock
        self._looks: dict[str, _Look] = {}
        self._unseen: set[tuple[str, float]] = set()
        self._denied = False

    def round(self) -> None:
        """Look at the holds that end soon."""
        started_s = self._clock()
        holds = {held.holder.uid for held in self._state.ending_holds(inf)}
        self._looks = {uid: look for uid, look in self._looks.items() if uid in holds}
        self._unseen = {attempt for attempt in self._unseen if attempt[0] in holds}
        due = sorted(self._due(started_s), key=lambda held: (self._looked_s(held), held.expires_s))
        for held in due[:PODS_A_ROUND]:
            self._look(held)
            if self._clock() - started_s >= ROUND_S:
                return

    def _due(self, now_s: float) -> list[Reservation]:
        holds = [held for held in self._state.ending_holds(inf) if not self._is_known(held)]
        return [held for held in holds if _attempt(held) in self._unseen or _ends_within(held, AHEAD_S, 1 / 4, now_s)]

    def _is_known(self, held: Reservation) -> bool:
        """Whether there is nothing to find out, or nothing to gain: the hold ends as it is."""
        look = self._looks.get(held.holder.uid)
        at_last = held.expires_s is not None and held.expires_s >= held.since_s + LONGEST_S
        return held.repeated or at_last or (look is not None and look.expires_s == held.expires_s)

    def _looked_s(self, held: Reservation) -> float:
        look = self._looks.get(held.holder.uid)
        return look.at_s if look is not None else -inf

    def _look(self, held: Reservation) -> None:
        node = self._awaited(held)
        now = self._state.reservation(held.holder.uid)
        if now is None or not now.held or _attempt(now) != _attempt(held):
            return
        self._unseen.discard(_attempt(held))
        self._looks[held.holder.uid] = _Look(self._clock(), None if node else now.expires_s)
        if node:
            self._state.keep_hold(now, node, STEP_S)

    def _awaited(self, held: Reservation) -> str:
        """The node on which a volume of the pod is awaited; empty when none is.

        The held node when nobody can say: what the API server cannot tell, it can hardly have bound.
        """
        holder = held.holder
        try:
            claims = claims_of(self._read(pod_path(holder.namespace, holder.name)), holder.uid)
            return self._awaited_by(held, claims)
        except ApiUnreachable:
            return held.node
        except ApiError as error:
            if error.about is None or error.status == 429 or error.status >= 500:
                return held.node
            if error.status in _DENIED:
                self._note_denial(error)
            return ""
        except DecodeError as error:
            _LOG.warning("volumes of pod %s/%s are not known: %s", holder.namespace, holder.name, error)
            return ""

    def _awaited_by(self, held: Reservation, claims: Sequence[str]) -> str:
        until_s = self._clock() + POD_S
        for claim in claims[:CLAIMS_OF_A_POD]:
            if self._clock() >= until_s:
                return held.node
            node = awaited_on(self._read(claim_path(held.holder.namespace, claim)))
            if node:
                return node
        return held.node if len(claims) > CLAIMS_OF_A_POD else ""

    def _read(self, path: str) -> bytes:
        self._keep_unseen()
        return self._api.read(path, timeout_s=READ_TIMEOUT_S)

    def _keep_unseen(self) -> None:
        """Keep the holds that would end before their turn."""
        now_s = self._clock()
        for held in self._due(now_s):
            if _ends_within(held, UNREAD_S, 1 / 6, now_s):
                self._unseen.add(_attempt(held))
                self._state.keep_hold(held, held.node, STEP_S)

    def _note_denial(self, error: ApiError) -> None:
        if not self._denied:
            self._denied = True
            _LOG.warning("can't see which pods wait for a volume: their room is held for --hold-s at most: %s", error)


def _attempt(held: Reservation) -> tuple[str, float]:
    return held.holder.uid, held.since_s


def _ends_within(held: Reservation, most_s: float, part: float, now_s: float) -> bool:
    """Whether the hold ends within `most_s`, and has no more than that part of its time left."""
    if held.expires_s is None:
        return False
    return held.expires_s - now_s <= min(most_s, (held.expires_s - held.since_s) * part)
