"""Carries out one HTTP request of the simulated API server: its routes and verbs, without its sockets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bench.simulated.apiserver.http11 import HttpRequest
from bench.simulated.apiserver.listing import Lister, ListOptions, render_object
from bench.simulated.apiserver.objects import patching
from bench.simulated.apiserver.objects.registry import DeleteOptions, Moment, Registry
from bench.simulated.apiserver.objects.resources import PODS, ApiResource, discovery, find_resource
from bench.simulated.apiserver.objects.selectors import parse_selector
from bench.simulated.apiserver.objects.statuses import StatusError, not_found, success
from bench.simulated.apiserver.watching import Watch, WatchOptions
from extender.contract.quantity import parse_digits

Body = dict[str, Any]
_VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0-simulated", "platform": "linux/amd64"}
_PROBES = ("/healthz", "/livez", "/readyz")
_WRITES = {"": ("PUT", "PATCH"), "status": ("PUT", "PATCH"), "binding": ("POST",), "eviction": ("POST",)}


@dataclass(frozen=True, slots=True)
class Route:
    """What a URL points to; `name` is empty for a collection, `namespace` for all of them."""

    resource: ApiResource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> str:
        """The store's key of a single object."""
        return f"{self.namespace}/{self.name}" if self.resource.namespaced else self.name


def parse_route(path: str) -> Route | None:
    """Read a path such as `/api/v1/namespaces/default/pods/a/binding`; None when the server does not serve it."""
    steps = path.strip("/").split("/")
    if steps[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", steps[2:]
    elif steps[0] == "apis" and len(steps) >= 3:
        group, version, rest = steps[1], steps[2], steps[3:]
    else:
        return None
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if not 1 <= len(rest) <= 3:
        return None
    if (group, rest[0]) == ("", "bindings"):
        return Route(PODS, namespace, "", "binding") if len(rest) == 1 else None
    resource = find_resource(group, version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        return None
    return Route(resource, namespace, *rest[1:])


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole HTTP answer."""

    code: int
    body: bytes
    content_type: str = "application/json"


class Handler:
    """Serves requests on one registry.

    Args:
        registry: the objects.
        lister: their lists.
        moment: gives the time and fresh names for one request.
        later: gives the time, RFC 3339, so many seconds from now.
        extra: paths that are no part of Kubernetes' API, and what makes the JSON answer from a request's body.
    """

    def __init__(
        self,
        registry: Registry,
        lister: Lister,
        moment: Callable[[], Moment],
        later: Callable[[int], str],
        extra: Mapping[str, Callable[[bytes], bytes]],
    ) -> None:
        self._registry = registry
        self._lister = lister
        self._moment = moment
        self._later = later
        self._extra = extra

    def handle(self, request: HttpRequest) -> HttpAnswer | Watch:
        """Carry out one request; every failure is an answer too."""
        try:
            return self._handle(request)
        except StatusError as error:
            return HttpAnswer(error.code, error.body())

    def _handle(self, request: HttpRequest) -> HttpAnswer | Watch:
        path = request.path.rstrip("/") or "/"
        if path in self._extra:
            return HttpAnswer(200, self._extra[path](request.body))
        if request.method == "GET" and path in _PROBES:
            return HttpAnswer(200, b"ok", "text/plain")
        if request.method == "GET" and path == "/version":
            return HttpAnswer(200, msgspec.json.encode(_VERSION))
        document = discovery(path) if request.method == "GET" else None
        if document is not None:
            return HttpAnswer(200, msgspec.json.encode(document))
        route = parse_route(path)
        if route is None:
            raise StatusError(404, "the server could not find the requested resource")
        if not route.name and route.subresource != "binding":
            return self._collection(request, route)
        return self._object(request, route)

    def _collection(self, request: HttpRequest, route: Route) -> HttpAnswer | Watch:
        resource, query = route.resource, request.query
        if request.method == "POST":
            return self._create(request, route)
        selector = parse_selector(resource, query.get("fieldSelector", ""), query.get("labelSelector", ""))
        if request.method == "GET" and query.get("watch") in ("true", "1"):
            return Watch(resource, route.namespace, selector, _watch_options(query))
        if request.method == "GET":
            options = ListOptions(
                limit=_number(query, "limit"),
                continue_token=query.get("continue", ""),
                resource_version=query.get("resourceVersion", ""),
                match=query.get("resourceVersionMatch", ""),
            )
            return HttpAnswer(200, self._lister.list(resource, route.namespace, selector, options))
        raise StatusError(405, "the server does not allow this method on the requested resource")

    def _create(self, request: HttpRequest, route: Route) -> HttpAnswer:
        resource = route.resource
        body = _object_in(request)
        if resource.namespaced and not route.namespace:
            raise StatusError(405, "the server does not allow this method on the requested resource")
        record = self._registry.create(resource, route.namespace, body, self._moment())
        return HttpAnswer(201, render_object(resource, record))

    def _object(self, request: HttpRequest, route: Route) -> HttpAnswer:
        resource = route.resource
        if route.subresource in ("binding", "eviction") and resource is not PODS:
            raise not_found(resource.plural, f"{route.name}/{route.subresource}")
        if request.method == "GET" and route.subresource in ("", "status"):
            return HttpAnswer(200, render_object(resource, self._registry.get(resource, route.key)))
        if request.method == "DELETE" and not route.subresource:
            return self._delete(request, route)
        if route.subresource not in _WRITES:
            raise StatusError(404, "the server could not find the requested resource")
        if request.method not in _WRITES[route.subresource]:
            raise StatusError(405, "the server does not allow this method on the requested resource")
        if route.subresource == "binding":
            return self._bind(request, route)
        if route.subresource == "eviction":
            options = msgspec.json.encode(_object_in(request).get("deleteOptions") or {})
            self._delete(replace(request, body=options), route)
            return HttpAnswer(201, success(code=201))
        patch = _decoded(request) if request.method == "PATCH" else _object_in(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip()

        def change(body: Body) -> Body:
            return patching.apply_patch(kind, body, patch) if request.method == "PATCH" else dict(patch)

        patched = request.method == "PATCH"
        record = self._registry.update(resource, route.key, route.subresource, change, patched=patched)
        return HttpAnswer(200, render_object(resource, record))

    def _bind(self, request: HttpRequest, route: Route) -> HttpAnswer:
        body = _object_in(request)
        name = route.name or (body.get("metadata") or {}).get("name", "")
        self._registry.bind(route.namespace, name, body, self._later(0))
        return HttpAnswer(201, success(code=201))

    def _delete(self, request: HttpRequest, route: Route) -> HttpAnswer:
        resource = route.resource
        record = self._registry.delete(resource, route.key, _delete_options(request), self._later)
        if resource is PODS:
            return HttpAnswer(200, render_object(resource, record))
        return HttpAnswer(200, success({"name": route.name, "kind": resource.plural, "uid": record.uid}))


def _decoded(request: HttpRequest) -> Any:
    try:
        return msgspec.json.decode(request.body)
    except msgspec.MsgspecError as error:
        raise StatusError(400, f"the body is not JSON: {error}") from error


def _object_in(request: HttpRequest) -> Body:
    body = _decoded(request)
    if not isinstance(body, dict):
        raise StatusError(400, f"the body is a {type(body).__name__}, expected an object")
    return body


def _number(query: Any, key: str) -> int:
    text = query.get(key) or "0"
    number = parse_digits(text)
    if number is None:
        raise StatusError(400, f"{key} is {text!r}, expected a number")
    return number


def _watch_options(query: Any) -> WatchOptions:
    version = query.get("resourceVersion", "")
    if version and parse_digits(version) is None:
        raise StatusError(400, f"resourceVersion is {version!r}, expected a number")
    return WatchOptions(
        resource_version=version,
        bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
        timeout_s=_number(query, "timeoutSeconds"),
    )


def _delete_options(request: HttpRequest) -> DeleteOptions:
    body = _object_in(request) if request.body else {}
    grace = body.get("gracePeriodSeconds")
    if grace is None and "gracePeriodSeconds" in request.query:
        grace = _number(request.query, "gracePeriodSeconds")
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace_s=None if grace is None else int(grace),
        uid=preconditions.get("uid", ""),
        resource_version=preconditions.get("resourceVersion", ""),
    )
