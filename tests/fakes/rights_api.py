"""An API server that only answers which rights the caller has."""

import json
from collections.abc import Mapping
from typing import Any

from extender.kube.errors import ApiError, ApiUnreachable


class RightsApi:
    """Grants every right but the `denied`, which are `verb resource`; `error` is raised instead while it is set."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.error: ApiError | ApiUnreachable | None = None

    def create(self, path: str, body: Mapping[str, Any], timeout_s: float) -> bytes:
        """Answer a SelfSubjectAccessReview."""
        assert (path, timeout_s > 0) == ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", True)
        if self.error is not None:
            raise self.error
        wanted = body["spec"]["resourceAttributes"]
        resource = "/".join(part for part in (wanted["resource"], wanted["subresource"]) if part)
        return json.dumps({"status": {"allowed": f"{wanted['verb']} {resource}" not in self.denied}}).encode()
