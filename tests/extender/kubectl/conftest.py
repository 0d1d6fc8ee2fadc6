"""A simulated API server, and kubectl gpupack as a user of it runs it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from extender.kubectl.cli import main

Run = Callable[..., Result]


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An empty cluster's API server; KUBECONFIG names its file."""
    with ApiServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def client(simulated: ApiServer, tmp_path: Path) -> Iterator[ClusterClient]:
    """To plant objects in it."""
    made = ClusterClient.from_kubeconfig(simulated.write_kubeconfig(tmp_path / "planting"))
    yield made
    made.close()


@pytest.fixture
def kubectl(simulated: ApiServer) -> Run:
    """Runs `kubectl gpupack` with these arguments."""
    del simulated

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, prog_name="kubectl gpupack")

    return run
