"""Fixtures that start real Kubernetes for a test module, or skip it with the reason."""

from collections.abc import Iterator

import pytest

from tests.e2e.binaries import Binaries, find_binaries
from tests.e2e.controlplane import ControlPlane
from tests.e2e.realkubelet import RealKubelet, why_not


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


@pytest.fixture(scope="module")
def real_kubelet(control_plane: ControlPlane) -> Iterator[RealKubelet]:
    """The real kubelet as a node of the module's control plane."""
    reason = why_not(control_plane.binaries)
    if reason is not None:
        pytest.skip(reason)
    with RealKubelet(control_plane) as started:
        yield started
