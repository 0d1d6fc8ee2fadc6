"""An API server of which a node agent sees the patches only: objects by path, and its failures."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from extender.kube.errors import ApiError, ApiUnreachable
from tests.fakes.refusals import not_found, refused


class FakePatching:
    """Applies merge patches of metadata to `objects`, or fails with `status` (0: no answer) while that is set.

    `by_proxy`: the failure is a proxy's page, not a Status object.
    """

    def __init__(self, **objects: dict[str, Any]) -> None:
        self.objects: dict[str, dict[str, Any]] = dict(objects)
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.status: int | None = None
        self.by_proxy = False

    def take(self, bodies: Iterable[bytes]) -> None:
        """Have these pods."""
        for body in bodies:
            pod = json.loads(body)
            self.objects[f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"] = pod

    def gpus_of(self, name: str) -> set[str]:
        """GPUs of the first container in the record on a pod."""
        text = self.objects[f"/api/v1/namespaces/default/pods/{name}"]["metadata"]["annotations"][
            "gpupack.io/allocated"
        ]
        return set(next(iter(json.loads(text)["containers"].values())))

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        assert timeout_s > 0
        change = json.loads(json.dumps(body))["metadata"]
        self.patches.append((path, change))
        if self.status is not None:
            if not self.status:
                raise ApiUnreachable("ordered by the test", sent=True)
            if self.by_proxy:
                raise ApiError(self.status, "Ordered", "<html>by the test</html>")
            raise refused(self.status, "Ordered", "by the test")
        metadata = self.objects[path]["metadata"] if path in self.objects else None
        if metadata is None:
            raise not_found("pods", path.rpartition("/")[2])
        if change.get("uid", metadata["uid"]) != metadata["uid"]:
            raise refused(422, "Invalid", "metadata.uid: Invalid value: field is immutable")
        metadata["annotations"] = {**metadata.get("annotations", {}), **change["annotations"]}
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        return json.dumps(self.objects[path]).encode()
