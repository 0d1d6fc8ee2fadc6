"""Keeps the pods that are bound to this node, from lists, watch events and answers to single requests."""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from device_plugin.pods.decoding import DecodedPod, DecodingError, decode_pod
from device_plugin.pods.pod import BoundPod
from extender.contract.names import Names
from extender.contract.units import UnitMib

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rival:
    """A pod that may have GPUs from others: from other device plugins, or by a resource claim."""

    namespace: str
    name: str
    givers: frozenset[str]


class PodStore:
    """The pods of this node that ask for our resources, by UID; safe to use from several threads.

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

    def replace(self, items: Iterable[bytes]) -> None:
        """Take a complete list: pods that are not in it are gone."""
        found = self._decode(items)
        with self._lock:
            present = {decoded.pod.uid for decoded in found}
            self._pods = {uid: pod for uid, pod in self._pods.items() if uid in present}
            self._rivals = {}
            self._put(found)

    def merge(self, items: Iterable[bytes]) -> None:
        """Take the state of some pods; the others are left as they are."""
        found = self._decode(items)
        with self._lock:
            self._put(found)

    def apply(self, kind: str, body: bytes) -> None:
        """Take one watch event."""
        if kind != "DELETED":
            self.merge([body])
            return
        with self._lock:
            for decoded in self._decode([body]):
                self._pods.pop(decoded.pod.uid, None)
                self._rivals.pop(decoded.pod.uid, None)

    def _decode(self, items: Iterable[bytes]) -> list[DecodedPod]:
        found: list[DecodedPod] = []
        for item in items:
            try:
                decoded = decode_pod(item, self._names, self._unit_mib)
            except DecodingError as error:
                _LOG.warning("a pod of this node is left out: %s", error)
                continue
            if decoded.problems and decoded.pod.needs:
                _LOG.debug("pod %s: %s", decoded.pod.path, "; ".join(decoded.problems))
            if decoded.pod.needs or decoded.givers:
                found.append(decoded)
        # Pods that were bound before this plugin started come in the order of binding, as far as they tell.
        return sorted(found, key=lambda each: (each.pod.bound_at, each.pod.created_at, each.pod.version))

    def _put(self, found: Iterable[DecodedPod]) -> None:
        for decoded in found:
            pod = decoded.pod
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
            elif pod.version >= known.version:
                self._pods[pod.uid] = replace(pod, order=known.order)
