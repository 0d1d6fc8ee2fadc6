"""From the path of a request to the resource, namespace, name and subresource that it means."""

from dataclasses import dataclass

from .resources import PODS, Resource, find_resource


@dataclass(frozen=True, slots=True)
class Route:
    """What a URL points to; `name` is empty for a collection, `namespace` for all of them."""

    resource: Resource
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
