"""Writes objects to the store under the rules of each kind.

Pure apart from the store it owns: time and random names are arguments, the caller serialises access.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.simulated.apiserver.objects import pod_rules
from bench.simulated.apiserver.objects.resources import EVENTS, NAMESPACES, NODES, PODS, PRIORITY_CLASSES, ApiResource
from bench.simulated.apiserver.objects.statuses import (
    StatusError,
    already_exists,
    conflict,
    invalid,
    not_found,
    other_object,
)
from bench.simulated.apiserver.objects.store import Event, Record, Store

Body = dict[str, Any]
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_EVENTS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Moment:
    """What a request gets from outside: the time (RFC 3339, seconds), a fresh UID and a random name suffix."""

    now: str
    uid: str
    suffix: str


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """The body or query of a DELETE."""

    grace_s: int | None = None
    uid: str = ""
    resource_version: str = ""


class Registry:
    """The objects of one simulated cluster.

    Args:
        store: where they live.
        publish: called with every event, in order of revision, within the call that caused it.
    """

    def __init__(self, store: Store, publish: Callable[[ApiResource, Event], None]) -> None:
        self.store = store
        self._publish = publish
        self._event_keys: deque[str] = deque()

    def get(self, resource: ApiResource, key: str) -> Record:
        """One record.

        Raises:
            ApiError: 404.
        """
        record = self.store.get(resource, key)
        if record is None:
            raise not_found(resource.plural, key.rpartition("/")[2])
        return record

    def create(self, resource: ApiResource, namespace: str, body: Body, moment: Moment) -> Record:
        """Store a new object under the namespace of the URL.

        Raises:
            ApiError: 400, 403, 409 or 422.
        """
        metadata = _metadata_of(resource, namespace, body)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{moment.suffix}"
        if not metadata.get("name"):
            raise invalid(resource.kind, "", [("metadata.name", "Required value: name or generateName is required")])
        for field in (*_SYSTEM, "resourceVersion"):
            metadata.pop(field, None)
        metadata |= {"uid": moment.uid, "creationTimestamp": moment.now}
        if resource is PODS:
            metadata["generation"] = 1
            classes = {record.fields["metadata.name"]: record.body() for record in self.store.records(PRIORITY_CLASSES)}
            pod_rules.default_pod(body, pod_rules.priority_of(metadata["name"], body.get("spec") or {}, classes))
            pod_rules.check_pod(body)
        elif resource is NODES:
            _default_node(body, moment.now)
        elif resource is NAMESPACES:
            body.setdefault("status", {"phase": "Active"})
        key = f"{namespace}/{metadata['name']}" if resource.namespaced else metadata["name"]
        if self.store.get(resource, key) is not None:
            raise already_exists(resource.plural, metadata["name"])
        record = self._put(resource, key, body)
        if resource is EVENTS:
            self._forget_old_events(key)
        return record

    def update(
        self, resource: ApiResource, key: str, subresource: str, change: Callable[[Body], Body], *, patched: bool
    ) -> Record:
        """Replace an object by what `change` makes of its current state; without a change nothing is written.

        Another UID in the result is a conflict for a whole object, and an invalid change for a patch.

        Raises:
            ApiError: 400, 404, 409 or 422.
        """
        current = self.get(resource, key)
        old = current.body()
        new = change(current.body())
        _check_identity(resource, key, old, new, patched=patched)
        metadata = new["metadata"]
        for field in _SYSTEM:
            metadata.pop(field, None)
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if resource in (PODS, NODES):
            kept = "spec" if subresource == "status" else "status"
            new.pop(kept, None)
            if kept in old:
                new[kept] = old[kept]
        if resource is PODS and not subresource:
            pod_rules.check_pod_update(old, new)
            pod_rules.check_pod(new)
        _drop_empty(metadata)
        if new == old:
            return current
        if "generation" in metadata and new.get("spec") != old.get("spec"):
            metadata["generation"] += 1
        record = self._put(resource, key, new)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not _grace_left(metadata):
            return self._remove(resource, key)
        return record

    def bind(self, namespace: str, name: str, binding: Body, now: str) -> Record:
        """Carry out a Binding.

        Raises:
            ApiError: 404, 409 or 422.
        """
        key = f"{namespace}/{name}"
        body = self.get(PODS, key).body()
        pod_rules.bind(body, binding, now)
        return self._put(PODS, key, body)

    def delete(self, resource: ApiResource, key: str, options: DeleteOptions, later: Callable[[int], str]) -> Record:
        """Delete at once, or mark a bound pod (or one with finalizers) for deletion.

        Args:
            resource: what.
            key: which.
            options: preconditions and grace period.
            later: gives the time, RFC 3339, so many seconds from now.

        Raises:
            ApiError: 404 or 409.
        """
        record = self.get(resource, key)
        body = record.body()
        metadata = body["metadata"]
        _check_preconditions(resource, metadata, options)
        grace_s = pod_rules.deletion_grace_s(body, options.grace_s) if resource is PODS else 0
        goes = grace_s == 0 and not metadata.get("finalizers")
        if goes and resource is not PODS:
            return self._remove(resource, key)
        left = metadata.get("deletionGracePeriodSeconds")
        if metadata.get("deletionTimestamp") is None or left is None or grace_s < left:
            if "generation" in metadata and not metadata.get("deletionTimestamp"):
                metadata["generation"] += 1
            metadata["deletionTimestamp"] = later(grace_s)
            metadata["deletionGracePeriodSeconds"] = grace_s
            record = self._put(resource, key, body)
        # A pod is marked before it goes, also when it goes at once: watchers see both.
        return self._remove(resource, key) if goes else record

    def _put(self, resource: ApiResource, key: str, body: Body) -> Record:
        _drop_empty(body["metadata"])
        event = self.store.put(resource, key, body)
        self._publish(resource, event)
        return event.record

    def _remove(self, resource: ApiResource, key: str) -> Record:
        event = self.store.remove(resource, key)
        self._publish(resource, event)
        return event.record

    def _forget_old_events(self, key: str) -> None:
        """Real Events live an hour; here the newest ones live."""
        self._event_keys.append(key)
        if len(self._event_keys) > _EVENTS_KEPT:
            oldest = self._event_keys.popleft()
            if self.store.get(EVENTS, oldest) is not None:
                self._remove(EVENTS, oldest)


def _metadata_of(resource: ApiResource, namespace: str, body: Body) -> Body:
    kind = body.pop("kind", resource.kind)
    body.pop("apiVersion", None)
    if kind != resource.kind:
        raise StatusError(400, f"{kind} in the body, expected {resource.kind}")
    metadata = body.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise StatusError(400, f"metadata is {metadata!r}, expected an object")
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", namespace) != namespace:
        raise StatusError(400, "the namespace of the provided object does not match the namespace sent on the request")
    metadata.pop("managedFields", None)
    return metadata


def _default_node(body: Body, now: str) -> None:
    body.setdefault("spec", {})
    status = body.setdefault("status", {})
    if status.get("capacity"):
        status.setdefault("allocatable", dict(status["capacity"]))
    # The admission plugin TaintNodesByCondition: no pod is scheduled to a node that has not reported ready.
    taints = body["spec"].setdefault("taints", [])
    if not any(taint.get("key") == "node.kubernetes.io/not-ready" for taint in taints):
        taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "timeAdded": now})


def _check_identity(resource: ApiResource, key: str, old: Body, new: Body, *, patched: bool) -> None:
    new.pop("kind", None)
    new.pop("apiVersion", None)
    metadata, held = new.get("metadata"), old["metadata"]
    if not isinstance(metadata, dict):
        raise StatusError(400, f"metadata is {metadata!r}, expected an object")
    name = held["name"]
    if resource.namespaced:
        metadata.setdefault("namespace", held["namespace"])
    if metadata.setdefault("name", name) != name or metadata.get("namespace", "") != held.get("namespace", ""):
        raise StatusError(
            400, f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
    uid = metadata.get("uid")
    if uid and uid != held["uid"]:
        if patched:
            raise invalid(resource.kind, name, [("metadata.uid", f'Invalid value: "{uid}": field is immutable')])
        raise other_object(resource.plural, key, uid, held["uid"])
    version = metadata.get("resourceVersion")
    if version and version != held["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(resource.plural, name, why)
    metadata.pop("managedFields", None)


def _check_preconditions(resource: ApiResource, metadata: Body, options: DeleteOptions) -> None:
    for label, field, wanted in (
        ("UID", "uid", options.uid),
        ("ResourceVersion", "resourceVersion", options.resource_version),
    ):
        if wanted and wanted != metadata[field]:
            pair = (
                f"the {label} in the precondition ({wanted}) does not match the {label} in record ({metadata[field]})"
            )
            why = f"{pair}. The object might have been deleted and then recreated"
            raise conflict(resource.kind, metadata["name"], why)


def _drop_empty(metadata: Body) -> None:
    """Empty maps and lists of the metadata are left out, as in Go."""
    for field in ("annotations", "labels", "finalizers", "ownerReferences"):
        if field in metadata and not metadata[field]:
            del metadata[field]


def _grace_left(metadata: Body) -> bool:
    return bool(metadata.get("deletionGracePeriodSeconds"))
