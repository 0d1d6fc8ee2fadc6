"""Names the writes to the API server that a node agent makes; `extender.kube.client.KubeApi` does them."""

from collections.abc import Mapping
from typing import Protocol

from extender.kube.errors import ApiError, ApiUnreachable

WRITE_ERRORS = (ApiError, ApiUnreachable)
"""What a write that failed raises."""


class Patching(Protocol):
    """Applies JSON merge patches."""

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        """Apply a patch; the object as it is afterwards.

        Raises:
            ApiError: the API server refused; 409 or 422 when `metadata.uid` in the patch is not that of the object.
            ApiUnreachable: no answer in time.
        """
        ...


class Creating(Protocol):
    """Creates objects."""

    def create(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        """Create an object; the object as the server answers it.

        Raises:
            ApiError: the API server refused.
            ApiUnreachable: no answer in time.
        """
        ...
