"""Fixtures that start real Kubernetes for a test module, or skip it with the reason."""

from collections.abc import Iterator

import pytest

from tests.e2e.binaries import Binaries, find_binaries
from tests.e2e.controlplane import ControlPlane


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The Kubernetes programs."""
    found = find_binaries()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="module")
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """A control plane of the module's own, with an empty API and without a scheduler (`start_scheduler`)."""
    with ControlPlane(binaries) as started:
        yield started
