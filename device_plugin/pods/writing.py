"""Names and paces the writes to the API server that a node agent makes; `extender.kube.client.KubeApi` does them."""

import random
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.retries import Backoff

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


def write_when_due(
    step: Callable[[], float | None],
    stop: threading.Event,
    *,
    due: threading.Event,
    backoff: Backoff,
    retries_when_due: bool,
) -> None:
    """Repeat a step that writes if needed, until `stop` is set; set `due` after that to wake it up.

    `step` returns the seconds until it has to look again, which `due` ends early, or None when writing failed. Then it
    is tried again after a pause, which `due` also ends early if `retries_when_due`.
    """
    failures = 0
    while not stop.is_set():
        due.clear()
        wait_s = step()
        if wait_s is not None:
            failures = 0
            due.wait(wait_s)
            continue
        failures += 1
        pause_s = backoff.delay_s(failures, random.random())  # noqa: S311 - spreads retries, no secret
        (due if retries_when_due else stop).wait(pause_s)
