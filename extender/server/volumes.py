"""Asks the API server, before a hold ends, whether kube-scheduler still waits for a volume to bind the pod.

From Kubernetes 1.35 on the pod itself says so; on older ones only its PersistentVolumeClaims do.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from extender.decoding.volumes import awaited_on, claims_of
from extender.kube.client import claim_path, pod_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.reservation import Reservation
from extender.server.state.state import State

_LOG = logging.getLogger(__name__)

AHEAD_S = 3.0
"""A hold is looked at so long before it ends; one of less than 12 s, in its last quarter."""

STEP_S = 10.0
"""A hold is kept so much longer at a time; once the volume is there, kube-scheduler binds within two seconds."""

READ_TIMEOUT_S = 1.0
ROUND_S = 1.0
"""A round reads nothing more after that time: waking pods has to wait for it."""

PODS_A_ROUND = 16
CLAIMS_OF_A_POD = 16
_DENIED = frozenset({401, 403})


class ReadingApi(Protocol):
    """What this needs of the API server; see `extender.kube.client.KubeApi`."""

    def read(self, path: str, timeout_s: float = ...) -> bytes:
        """Read an object."""
        ...


class VolumeWaits:
    """Prolongs the holds of pods whose volumes are being made; for one thread only.

    A pod that passed filter shortly before without coming to bind is not looked at: of its claims, some may be left
    from the attempt before.
    """

    def __init__(self, state: State, api: ReadingApi, clock: Callable[[], float]) -> None:
        self._state = state
        self._api = api
        self._clock = clock
        self._asked: dict[str, float | None] = {}
        self._denied = False

    def round(self) -> None:
        """Look at the holds that end soon."""
        now_s = self._clock()
        ending = {held.holder.uid: held for held in self._state.ending_holds(AHEAD_S) if not held.repeated}
        self._asked = {uid: end_s for uid, end_s in self._asked.items() if uid in ending}
        due = [held for uid, held in ending.items() if self._asked.get(uid) != held.expires_s and _is_due(held, now_s)]
        for held in due[:PODS_A_ROUND]:
            self._asked[held.holder.uid] = held.expires_s
            node = self._awaited(held)
            if node:
                self._state.keep_hold(held, node, STEP_S)
            if self._clock() - now_s >= ROUND_S:
                return

    def _awaited(self, held: Reservation) -> str:
        """The node on which a volume of the pod is awaited; empty when none is.

        The held node when nobody can say: what the API server cannot tell, it can hardly have bound.
        """
        holder = held.holder
        try:
            pod = self._api.read(pod_path(holder.namespace, holder.name), timeout_s=READ_TIMEOUT_S)
            claims = claims_of(pod, holder.uid)[:CLAIMS_OF_A_POD]
            nodes = [self._awaited_by(holder.namespace, claim) for claim in claims]
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
        return next(filter(None, nodes), "")

    def _awaited_by(self, namespace: str, claim: str) -> str:
        return awaited_on(self._api.read(claim_path(namespace, claim), timeout_s=READ_TIMEOUT_S))

    def _note_denial(self, error: ApiError) -> None:
        if not self._denied:
            self._denied = True
            _LOG.warning("can't see which pods wait for a volume: their room is held for --hold-s at most: %s", error)


def _is_due(held: Reservation, now_s: float) -> bool:
    return held.expires_s is not None and held.expires_s - now_s <= (held.expires_s - held.since_s) / 4
