"""Gives each scenario a cluster, once simulated and once real."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bench.simulated.apiserver.server import ApiServer
from tests.e2e.controlplane import ControlPlane
from tests.e2e.scenarios.environment import Backend, Environment, RealBackend, SimulatedBackend

Start = Callable[..., Environment]


@pytest.fixture(scope="module", params=["simulated", pytest.param("real", marks=pytest.mark.e2e)])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The API server and scheduler of a module's scenarios."""
    if request.param == "real":
        control_plane: ControlPlane = request.getfixturevalue("control_plane")
        yield RealBackend(control_plane)
        return
    with ApiServer() as server:
        yield SimulatedBackend(server, tmp_path_factory.mktemp("simulated"))


@pytest.fixture
def start(backend: Backend) -> Iterator[Start]:
    """Starts a scenario's cluster; keyword arguments are those of Environment."""
    with ExitStack() as stack:

        def begin(**arguments: Any) -> Environment:
            environment = Environment(backend, **arguments)
            stack.callback(environment.stop)
            environment.start()
            return environment

        yield begin
