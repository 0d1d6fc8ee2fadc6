"""What several of the extender's test modules ask for by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from extender.kube.client import KubeApi, connect
from tests.extender.worlds import World, world
from tests.fakes.api_server import ApiServer, kubeconfig_for


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A scripted API server, reached directly whatever proxy this machine uses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ApiServer() as running:
        yield running


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Iterator[KubeApi]:
    """A connection to it with a bearer token."""
    connection = connect(kubeconfig_for(server, tmp_path, token="secret-token"))
    yield connection
    connection.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """The usual world."""
    with world(tmp_path) as made:
        yield made
