"""One object of a cluster: it is there, it is not there, or nobody knows."""

from pathlib import Path

import pytest

from extender.kubectl.cluster.session import Session
from extender.kubectl.options import Options, Unreachable
from tests.fakes.api_server import ApiServer, Step, kubeconfig_for, refusing

PATH = "/apis/apps/v1/namespaces/team/deployments/web"
GONE = {
    "kind": "Status",
    "status": "Failure",
    "reason": "NotFound",
    "details": {"group": "apps", "kind": "deployments", "name": "web"},
    "code": 404,
}


def read(directory: Path, step: Step) -> bytes | None:
    """What a session makes of this answer."""
    with ApiServer() as server:
        server.on_other(step)
        return Session(Options(kubeconfig=kubeconfig_for(server, directory))).read(PATH)


def test_an_object_that_an_api_server_says_is_not_there_is_none(tmp_path: Path) -> None:
    """It names the object."""
    assert read(tmp_path, lambda exchange: exchange.answer(404, GONE)) is None


def test_an_object_of_an_api_that_is_not_served_is_none(tmp_path: Path) -> None:
    """Then there is none of its kind; the Status names no object."""
    assert read(tmp_path, refusing(404, "NotFound")) is None


@pytest.mark.parametrize(
    "about", [b"default backend - 404", {**GONE, "details": {"kind": "deployments", "name": "db"}}]
)
def test_another_404_is_no_answer(tmp_path: Path, about: bytes | dict[str, object]) -> None:
    """A load balancer without a backend, or what is said of another object."""
    with pytest.raises(Unreachable):
        read(tmp_path, lambda exchange: exchange.answer(404, about))
