"""Keeps the pods that are bound to this node, from lists, watch events and answers to single requests."""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from device_plugin.pods.decoding import DecodedPod, decode_pod
from device_plugin.pods.pod import BoundPod
from extender.contract.names import Names
from extender.contract.quantity import parse_digits
from extender.contract.units import UnitMib
from extender.kube.objects import DecodeError, Identity

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rival:
    """A pod that may have GPUs from others: from other device plugins, or by a resource claim."""

    namespace: str
    name: str
    givers: frozenset[str]


class PodStore:
    """The pods of this node that ask for our resources, by UID; a reflector's sink, safe to use from several threads.

    A state older than the known one is dropped, so watch, live reads and answers to patches may come in any order.
    """

    def __init__(self, names: Names, unit_mib: UnitMib) -> None:
        self._names = names
        self._unit_mib = unit_mib
        self._lock = threading.Lock()
        self._pods: dict[str, BoundPod] = {}
        self._rivals: dict[str, Rival] = {}
        self._next_order = 0

    def pods(self) -> dict[str, BoundPod]:
        """Every pod by UID."""
        with self._lock:
            return dict(self._pods)

    def get(self, uid: str) -> BoundPod | None:
        """The pod with that UID."""
        with self._lock:
            return self._pods.get(uid)

    def rival(self, uid: str) -> Rival | None:
        """The pod with that UID if it may have GPUs from others."""
        with self._lock:
            return self._rivals.get(uid)

    def read(self, raw: bytes) -> DecodedPod:
        """Decode one pod.

        Raises:
            DecodeError: not a Pod.
        """
        return decode_pod(raw, self._names, self._unit_mib)

    def replaced(
        self, records: Sequence[DecodedPod], unreadable: Sequence[Identity], resource_version: str, *, rewound: bool
    ) -> None:
        """Take a complete list: pods that are not in it are gone; those that cannot be read stay as they were."""
        knows_up_to = inf if rewound else parse_digits(resource_version) or 0
        present = {decoded.pod.uid for decoded in records} | {identity.uid for identity in unreadable}
        with self._lock:
            self._pods = {uid: pod for uid, pod in self._pods.items() if uid in present}
            self._rivals = {uid: rival for uid, rival in self._rivals.items() if uid in present}
            self._put(records, knows_up_to)

    def changed(self, record: DecodedPod) -> None:
        """Take the state of one pod; the others are left as they are."""
        with self._lock:
            self._put([record])

    def deleted(self, identity: Identity) -> None:
        """Forget a pod."""
        with self._lock:
            self._pods.pop(identity.uid, None)
            self._rivals.pop(identity.uid, None)

    def merge(self, items: Iterable[bytes]) -> None:
        """Take the state of some pods; the others, and those that cannot be read, are left as they are."""
        found: list[DecodedPod] = []
        for item in items:
            try:
                found.append(self.read(item))
            except DecodeError as error:
                _LOG.warning("a pod of this node is left out: %s", error)
        with self._lock:
            self._put(found)

    def _put(self, found: Iterable[DecodedPod], knows_up_to: float = -1) -> None:
        """Take what is newer, or comes from a list that knows better all that was seen up to this version."""
        # Pods that were bound before this plugin started come in the order of binding, as far as they tell.
        for decoded in sorted(found, key=lambda each: (each.pod.bound_at, each.pod.created_at, each.pod.version)):
            pod = decoded.pod
            if decoded.problems and pod.needs:
                _LOG.debug("pod %s: %s", pod.path, "; ".join(decoded.problems))
            if decoded.givers and not pod.ended:
                self._rivals[pod.uid] = Rival(pod.namespace, pod.name, decoded.givers)
            else:
                self._rivals.pop(pod.uid, None)
            if not pod.needs:
                continue
            known = self._pods.get(pod.uid)
            if known is None:
                self._next_order += 1
                self._pods[pod.uid] = replace(pod, order=self._next_order)
            elif pod.version >= known.version or known.version <= knows_up_to:
                self._pods[pod.uid] = replace(pod, order=known.order)
