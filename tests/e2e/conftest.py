"""Fixtures that start real Kubernetes for a test module, or skip it with the reason."""

from collections.abc import Iterator

import pytest

from tests.e2e.binaries import Binaries, find_binaries
from tests.e2e.controlplane import ControlPlane
from tests.e2e.realkubelet import RealKubelet, why_not
from tests.e2e.realnode import GPUS, UNITS, RealNode


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


@pytest.fixture(scope="module")
def started_node(
    control_plane: ControlPlane, real_kubelet: RealKubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealNode]:
    """The module's real node with extender, kube-scheduler and device plugin."""
    with RealNode(control_plane, real_kubelet, tmp_path_factory.mktemp("node")) as started:
        yield started


@pytest.fixture
def real_node(started_node: RealNode) -> Iterator[RealNode]:
    """That node, offering all of its GPUs, as the extender knows, and without pods afterwards."""
    started_node.wait_allocatable(UNITS, GPUS)
    started_node.wait_known()
    yield started_node
    started_node.clear()
