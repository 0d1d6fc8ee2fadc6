"""Gives each module a real control plane with extender and kube-scheduler, empty at first."""

from collections.abc import Iterator

import pytest

from tests.e2e.controlplane import ControlPlane
from tests.e2e.promises.clusters import running
from tests.e2e.scenarios.environment import Environment, RealBackend


@pytest.fixture(scope="module")
def backend(control_plane: ControlPlane) -> RealBackend:
    """The module's control plane with gpupack's manifests applied."""
    return RealBackend(control_plane)


@pytest.fixture(scope="module")
def environment(backend: RealBackend) -> Iterator[Environment]:
    """The module's cluster; its tests keep out of each other's way by nodes of their own."""
    with running(backend) as environment:
        yield environment
