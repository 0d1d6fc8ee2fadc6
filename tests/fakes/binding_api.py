"""An API server's pods in memory, with the few calls that binding, settling and waking make; faults are ordered."""

import copy
import json
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from extender.kube.errors import ApiError, ApiUnreachable

Json = dict[str, Any]
Trouble = ApiError | ApiUnreachable
_ONCE_S = 10.0
_CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims/"


class BindingApi:
    """Behaves as the API server: UID precondition, 404, 409 for a bound pod, annotations merged with the node.

    `refusals`, `lost`, `unreadable` and `untouchable` are taken one by one: an error instead of a write, an error after
    a write, an error instead of a read, an error instead of a patch. While `gate` is closed, binds wait for it.
    `claims` are PersistentVolumeClaims by name.
    """

    def __init__(self, *pods: Json) -> None:
        self.pods = {pod["metadata"]["name"]: copy.deepcopy(pod) for pod in pods}
        self.refusals: deque[Trouble] = deque()
        self.lost: deque[Trouble] = deque()
        self.unreadable: deque[Trouble] = deque()
        self.untouchable: deque[Trouble] = deque()
        self.claims: dict[str, Json] = {}
        self.touched: list[str] = []
        self.reads = 0
        self.binds = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def read(self, path: str, timeout_s: float = 10.0) -> bytes:
        """The pod or the claim, from the newest state."""
        assert timeout_s > 0
        claim = path.removeprefix(_CLAIMS)
        name = claim if claim != path else _name_in(path)
        with self._lock:
            self.reads += 1
            if self.unreadable:
                raise self.unreadable.popleft()
            return json.dumps(self._pod(name) if claim == path else self._claim(name)).encode()

    def bind_pod(  # noqa: PLR0917 - the order of the API
        self,
        namespace: str,
        name: str,
        uid: str,
        node: str,
        annotations: Mapping[str, str],
        timeout_s: float = 10.0,
    ) -> None:
        """Write a Binding."""
        assert namespace == "default"
        assert timeout_s > 0
        self.entered.release()
        assert self.gate.wait(_ONCE_S)
        with self._lock:
            self.binds += 1
            if self.refusals:
                raise self.refusals.popleft()
            self.write(name, uid, node, annotations)
            if self.lost:
                raise self.lost.popleft()

    def write(self, name: str, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        """Carry out a Binding."""
        pod = self._pod(name)
        if pod["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "Precondition failed: UID in precondition")
        if pod["spec"].get("nodeName"):
            raise ApiError(409, "Conflict", f"pod {name} is already assigned to node {pod['spec']['nodeName']!r}")
        pod["spec"]["nodeName"] = node
        pod["metadata"]["annotations"].update(annotations)
        pod["metadata"]["resourceVersion"] = str(int(pod["metadata"]["resourceVersion"]) + 1000)

    def patch(self, path: str, body: Mapping[str, Any], timeout_s: float = 10.0) -> bytes:
        """Merge annotations."""
        name, metadata = _name_in(path), body["metadata"]
        assert timeout_s > 0
        with self._lock:
            if self.untouchable:
                raise self.untouchable.popleft()
            pod = self._pod(name)
            if pod["metadata"]["uid"] != metadata["uid"]:
                raise ApiError(409, "Conflict", "Precondition failed: UID in precondition")
            pod["metadata"]["annotations"].update(metadata["annotations"])
            self.touched.append(name)
            return json.dumps(pod).encode()

    def _claim(self, name: str) -> Json:
        claim = self.claims.get(name)
        if claim is None:
            raise ApiError(404, "NotFound", f'persistentvolumeclaims "{name}" not found')
        return claim

    def _pod(self, name: str) -> Json:
        pod = self.pods.get(name)
        if pod is None:
            raise ApiError(404, "NotFound", f'pods "{name}" not found')
        return pod


def _name_in(path: str) -> str:
    folder, _, name = path.rpartition("/")
    assert folder == "/api/v1/namespaces/default/pods"
    return name


def unreachable(*, sent: bool) -> ApiUnreachable:
    """A timeout: the request may have been executed, or has surely never left."""
    return ApiUnreachable("timed out", sent=sent)
