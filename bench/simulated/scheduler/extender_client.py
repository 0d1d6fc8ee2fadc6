"""Calls the extender exactly as kube-scheduler does: Go field names, nodeCacheCapable, its headers and errors.

Source: k8s.io/kubernetes/pkg/scheduler/extender.go and Go's net/http (two idle connections are kept, keys of answers
are matched regardless of case, an answer that is not 200 loses its body).
"""

import http.client
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

Body = Mapping[str, Any]
_IDLE_KEPT = 2


class ExtenderError(Exception):
    """A call failed; the text is what kube-scheduler would report."""


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """Which nodes the extender takes, and why not the others."""

    nodes: tuple[str, ...]
    failed: Mapping[str, str]
    unresolvable: Mapping[str, str]


class ExtenderClient:
    """One extender; safe to use from several threads, each call on a connection of its own.

    Args:
        url: its urlPrefix.
        timeout_s: httpTimeout, for every call.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError(f"extender url {url!r}: expected http://HOST:PORT")
        self._url = url.rstrip("/")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def filter(self, pod: Body, names: Sequence[str]) -> FilterAnswer:
        """Ask which of the nodes `names` take the pod.

        Raises:
            ExtenderError: the call failed, or the answer has Error set.
        """
        answer = self._call("filter", {"Pod": pod, "Nodes": None, "NodeNames": names})
        if answer.get("error"):
            raise ExtenderError(str(answer["error"]))
        return FilterAnswer(
            nodes=tuple(answer.get("nodenames") or ()),
            failed=answer.get("failednodes") or {},
            unresolvable=answer.get("failedandunresolvablenodes") or {},
        )

    def prioritize(self, pod: Body, names: Sequence[str]) -> dict[str, int]:
        """Ask for a score per node, 0 to 10.

        Raises:
            ExtenderError: the call failed, or a score is no integer.
        """
        answer = self._decoded("prioritize", {"Pod": pod, "Nodes": None, "NodeNames": names})
        scores: dict[str, int] = {}
        for entry in answer or []:
            fields = {key.lower(): value for key, value in entry.items()}
            if not isinstance(fields.get("score"), int):
                raise ExtenderError(f"json: cannot unmarshal number {fields.get('score')} into Go struct field Score")
            scores[fields["host"]] = fields["score"]
        return scores

    def bind(self, namespace: str, name: str, uid: str, node: str) -> None:
        """Ask for a binding.

        Raises:
            ExtenderError: the call failed, or the answer has Error set.
        """
        body = {"PodName": name, "PodNamespace": namespace, "PodUID": uid, "Node": node}
        answer = self._call("bind", body)
        if answer.get("error"):
            raise ExtenderError(str(answer["error"]))

    def preempt(self, pod: Body, victims: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Ask which of the nodes with their victims' UIDs to keep.

        Raises:
            ExtenderError: the call failed.
        """
        meta = {node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": 0} for node, uids in victims.items()}
        body = {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": meta}
        answer = self._call("preempt", body)
        kept: dict[str, list[str]] = {}
        for node, entry in (answer.get("nodenametometavictims") or {}).items():
            fields = {key.lower(): value for key, value in (entry or {}).items()}
            kept[node] = [next(iter(pod.values())) for pod in fields.get("pods") or []]
        return kept

    def _call(self, verb: str, body: Body) -> dict[str, Any]:
        decoded = self._decoded(verb, body)
        if decoded is None or decoded == []:
            return {}
        if not isinstance(decoded, dict):
            raise ExtenderError(f"json: cannot unmarshal the answer to {verb} into an object")
        return {key.lower(): value for key, value in decoded.items()}

    def _decoded(self, verb: str, body: Body) -> Any:
        data = self._post(verb, msgspec.json.encode(body))
        try:
            return msgspec.json.decode(data)
        except msgspec.MsgspecError as error:
            raise ExtenderError(f"invalid character in the answer to {verb}: {error}") from error

    def _post(self, verb: str, body: bytes) -> bytes:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            data = self._try(idle, verb, body, kept=True)
            if data is not None:
                return data
        fresh = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        data = self._try(fresh, verb, body, kept=False)
        if data is None:
            raise AssertionError("a fresh connection gives an answer or an error")
        return data

    def _try(self, connection: http.client.HTTPConnection, verb: str, body: bytes, *, kept: bool) -> bytes | None:
        """One exchange; None when a kept connection turned out to have been closed: Go's client too tries once more."""
        try:
            return self._exchange(connection, verb, body)
        except TimeoutError as error:
            connection.close()
            text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise ExtenderError(f'Post "{self._url}/{verb}": {text}') from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if kept and isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
                return None
            raise ExtenderError(f'Post "{self._url}/{verb}": {error}') from error

    def _exchange(self, connection: http.client.HTTPConnection, verb: str, body: bytes) -> bytes:
        connection.putrequest("POST", f"{self._prefix}/{verb}", skip_accept_encoding=True)
        connection.putheader("User-Agent", "Go-http-client/1.1")
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Accept-Encoding", "gzip")
        connection.endheaders(body)
        reply = connection.getresponse()
        data = reply.read()
        if reply.status != http.client.OK:
            connection.close()
            raise ExtenderError(f"failed {verb} with extender at URL {self._url}/{verb}, code {reply.status}")
        if reply.will_close:
            connection.close()
            return data
        with self._lock:
            kept = len(self._idle) < _IDLE_KEPT
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()
        return data
