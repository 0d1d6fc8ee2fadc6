"""From the names of objects to their paths in the API."""


def pod_path(namespace: str, name: str) -> str:
    """Path of a pod.

    Raises:
        ValueError: not names of Kubernetes objects.
    """
    return f"/api/v1/namespaces/{segment('namespace', namespace)}/pods/{segment('name', name)}"


def segment(field: str, value: str) -> str:
    """`value` as one segment of a path, as the API server itself restricts it (path.IsValidPathSegmentName).

    Raises:
        ValueError: `value` of `field` can't be one.
    """
    if not value or value in (".", "..") or not set(value).isdisjoint("/%?#{}") or not value.isprintable():
        raise ValueError(f"{field} {value!r}: expected a Kubernetes object's name")
    return value
