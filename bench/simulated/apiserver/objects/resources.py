"""Lists the kinds that the simulated API server keeps, and what field selectors may ask of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COMMON = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class ApiResource:
    """One kind of object.

    Args:
        plural: name in URLs.
        kind: name in objects.
        group: API group, empty for core.
        version: API version.
        namespaced: whether its objects live in namespaces.
        selectable: dotted fields that a fieldSelector may name.
    """

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    selectable: tuple[str, ...] = _COMMON

    @property
    def api_version(self) -> str:
        """Group and version as objects spell it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def fields_of(self, body: Mapping[str, Any]) -> dict[str, str]:
        """The value of every selectable field of an object; absent ones are empty, as in Kubernetes."""
        return {field: _text_at(body, field) for field in self.selectable}


def _text_at(body: Mapping[str, Any], field: str) -> str:
    value: Any = body
    for step in field.split("."):
        if not isinstance(value, dict):
            return ""
        value = value.get(step)
    if isinstance(value, bool):
        return "true" if value else "false"
    if field == "spec.unschedulable" and value is None:
        return "false"
    return "" if value is None else str(value)


PODS = ApiResource(
    "pods",
    "Pod",
    selectable=(*_COMMON, "spec.nodeName", "spec.schedulerName", "status.phase", "status.nominatedNodeName"),
)
NODES = ApiResource("nodes", "Node", namespaced=False, selectable=(*_COMMON, "spec.unschedulable"))
NAMESPACES = ApiResource("namespaces", "Namespace", namespaced=False, selectable=(*_COMMON, "status.phase"))
EVENTS = ApiResource(
    "events",
    "Event",
    selectable=(
        *_COMMON,
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "reason",
        "type",
    ),
)
BUDGETS = ApiResource("poddisruptionbudgets", "PodDisruptionBudget", group="policy")
PRIORITY_CLASSES = ApiResource("priorityclasses", "PriorityClass", group="scheduling.k8s.io", namespaced=False)
LEASES = ApiResource("leases", "Lease", group="coordination.k8s.io")

SERVED = (PODS, NODES, NAMESPACES, EVENTS, PRIORITY_CLASSES, LEASES, BUDGETS)

_BY_URL = {(resource.group, resource.version, resource.plural): resource for resource in SERVED}


def find_resource(group: str, version: str, plural: str) -> ApiResource | None:
    """The resource of a URL; None when the server has no such kind."""
    return _BY_URL.get((group, version, plural))


def discovery(path: str) -> dict[str, Any] | None:
    """The discovery document at `path` (`/api`, `/apis`, `/api/v1`, `/apis/<group>/<version>`); None elsewhere."""
    groups = sorted({(resource.group, resource.version) for resource in SERVED if resource.group})
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        listed = []
        for group, version in groups:
            entry = {"groupVersion": f"{group}/{version}", "version": version}
            listed.append({"name": group, "versions": [entry], "preferredVersion": entry})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    steps = path.strip("/").split("/")
    wanted = ("", "v1") if steps == ["api", "v1"] else tuple(steps[1:]) if steps[0] == "apis" else ()
    served = [resource for resource in SERVED if (resource.group, resource.version) == wanted]
    if not served:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": [
            {
                "name": resource.plural,
                "singularName": resource.kind.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            }
            for resource in served
        ],
    }
