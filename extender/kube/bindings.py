"""From a decision to the Binding that carries it out."""

from collections.abc import Mapping


def binding(namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str]) -> dict[str, object]:
    """A core/v1 Binding of the pod with this UID, as JSON; the API server merges its annotations into the pod."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "annotations": dict(annotations)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
