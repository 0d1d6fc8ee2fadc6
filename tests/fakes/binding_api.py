"""An API server's pods in memory, with the few calls that binding, settling and waking make; faults are ordered."""

import copy
import json
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from extender.kube.errors import ApiError, ApiUnreachable
from tests.fakes.refusals import not_found, refused

Json = dict[str, Any]
Trouble = ApiError | ApiUnreachable
_ONCE_S = 10.0
_CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims/"


class BindingApi:
    """Behaves as the API server: preconditions, 404, 409 for a bound pod, annotations merged with the node.

    `refusals`, `lost`, `late`, `unreadable`, `untouchable` and `unlisted` are taken one by one: an error instead of a
    write, an error after a write, an error before a write that is carried out by `arrive`, an error instead of a read,
    of a patch, of a list. While `gate` is closed, binds wait for it.
    `claims` are PersistentVolumeClaims by name.
    """

    def __init__(self, *pods: Json) -> None:
        self.pods = {pod["metadata"]["name"]: copy.deepcopy(pod) for pod in pods}
        self.refusals: deque[Trouble] = deque()
        self.lost: deque[Trouble] = deque()
        self.late: deque[Trouble] = deque()
        self.unreadable: deque[Trouble] = deque()
        self.untouchable: deque[Trouble] = deque()
        self.unlisted: deque[Trouble] = deque()
        self.claims: dict[str, Json] = {}
        self.touched: list[str] = []
        self.reads = 0
        self.binds = 0
        self.lists = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._under_way: list[tuple[str, str, str, Mapping[str, str], int]] = []
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

    def list_page(
        self, path: str, limit: int, continue_token: str, timeout_s: float, max_bytes: int | None = None
    ) -> bytes:
        """All pods of one node."""
        assert limit > 1
        assert (continue_token, timeout_s > 0, max_bytes != 0) == ("", True, True)
        collection, _, node = path.partition("?fieldSelector=spec.nodeName%3D")
        assert collection == "/api/v1/pods"
        with self._lock:
            self.lists += 1
            if self.unlisted:
                raise self.unlisted.popleft()
            found = [pod for pod in self.pods.values() if pod["spec"].get("nodeName") == node]
            metadata = {"resourceVersion": str(self._newest())}
            return json.dumps({"kind": "PodList", "metadata": metadata, "items": found}).encode()

    def bind_pod(  # noqa: PLR0917 - the order of the API
        self,
        namespace: str,
        name: str,
        uid: str,
        node: str,
        annotations: Mapping[str, str],
        timeout_s: float = 10.0,
        *,
        resource_version: int = 0,
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
            if self.late:
                self._under_way.append((name, uid, node, annotations, resource_version))
                raise self.late.popleft()
            self.write(name, uid, node, annotations, resource_version)
            if self.lost:
                raise self.lost.popleft()

    def write(self, name: str, uid: str, node: str, annotations: Mapping[str, str], resource_version: int = 0) -> None:
        """Carry out a Binding; 0 is any version."""
        pod = self._pod(name)
        if pod["metadata"]["uid"] != uid:
            raise refused(409, "Conflict", "Precondition failed: UID in precondition")
        if resource_version not in {0, int(pod["metadata"]["resourceVersion"])}:
            raise refused(409, "Conflict", "Precondition failed: ResourceVersion in precondition")
        if pod["spec"].get("nodeName"):
            raise refused(409, "Conflict", f"pod {name} is already assigned to node {pod['spec']['nodeName']!r}")
        pod["spec"]["nodeName"] = node
        self.annotate(name, annotations)

    def arrive(self) -> list[str]:
        """Carry out the Bindings that were late; the outcome of each."""
        outcomes = []
        for name, uid, node, annotations, resource_version in self._under_way:
            try:
                self.write(name, uid, node, annotations, resource_version)
                outcomes.append("written")
            except ApiError as error:
                outcomes.append(error.message)
        self._under_way.clear()
        return outcomes

    def annotate(self, name: str, annotations: Mapping[str, str]) -> None:
        """Somebody writes annotations; the same ones again are no write."""
        metadata = self._pod(name)["metadata"]
        before = dict(metadata["annotations"])
        metadata["annotations"].update(annotations)
        if before != metadata["annotations"] or not annotations:
            metadata["resourceVersion"] = str(self._newest() + 1)

    def patch(self, path: str, body: Mapping[str, Any], timeout_s: float = 10.0) -> bytes:
        """Merge annotations."""
        name, metadata = _name_in(path), body["metadata"]
        assert timeout_s > 0
        with self._lock:
            if self.untouchable:
                raise self.untouchable.popleft()
            pod = self._pod(name)
            if pod["metadata"]["uid"] != metadata["uid"]:
                raise refused(409, "Conflict", "Precondition failed: UID in precondition")
            self.annotate(name, metadata["annotations"])
            self.touched.append(name)
            return json.dumps(pod).encode()

    def _newest(self) -> int:
        versions = [int(pod["metadata"]["resourceVersion"]) for pod in self.pods.values() if "metadata" in pod]
        return max(versions, default=0)

    def _claim(self, name: str) -> Json:
        claim = self.claims.get(name)
        if claim is None:
            raise not_found("persistentvolumeclaims", name)
        return claim

    def _pod(self, name: str) -> Json:
        pod = self.pods.get(name)
        if pod is None:
            raise not_found("pods", name)
        return pod


def _name_in(path: str) -> str:
    folder, _, name = path.rpartition("/")
    assert folder == "/api/v1/namespaces/default/pods"
    return name


def unreachable(*, sent: bool) -> ApiUnreachable:
    """A timeout: the request may have been executed, or has surely never left."""
    return ApiUnreachable("timed out", sent=sent)
