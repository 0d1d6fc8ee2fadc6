"""The real kubelet that other end-to-end tests stand on runs pods, reports them, and survives its own restart."""

import pytest

from bench.simulated.waiting import wait_until
from tests.e2e.api import Api
from tests.e2e.controlplane import ControlPlane
from tests.e2e.podspecs import container, pod
from tests.e2e.realkubelet import RealKubelet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane, real_kubelet: RealKubelet) -> Api:
    """The API of a control plane with a scheduler, the real node and a namespace "work"."""
    control_plane.start_scheduler()
    control_plane.api.create_namespace("work")
    assert real_kubelet.node()["metadata"]["name"] == real_kubelet.node_name
    return control_plane.api


def test_the_node_offers_what_the_machine_has(api: Api, real_kubelet: RealKubelet) -> None:
    """Allocatable comes from the kubelet, not from the test."""
    assert api.get("/api/v1/nodes")["items"][0]["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.")
    assert (real_kubelet.allocatable("pods"), real_kubelet.allocatable("cpu") != "0") == ("200", True)


def test_a_pod_really_runs_and_its_environment_can_be_read(api: Api, real_kubelet: RealKubelet) -> None:
    """From the API through scheduler, kubelet and containerd to a process."""
    spec = container()
    spec["env"] = [{"name": "COLOUR", "value": "green"}]
    api.create_pod("work", pod("runs", spec))
    running = real_kubelet.wait_running("work", "runs")
    assert running["spec"]["nodeName"] == real_kubelet.node_name
    # It is printed line by line.
    colour = wait_until(
        lambda: real_kubelet.environment_of("work", "runs").get("COLOUR"), what="the variable that the container prints"
    )
    assert colour == "green"


def test_a_pod_that_ends_reports_its_exit_status(api: Api) -> None:
    """The idle program ends when it is told to, with the status that it is told."""
    api.create_pod("work", pod("ends", container(arguments=("-for=100ms", "-exit=3"))))
    wait_until(lambda: api.pod("work", "ends")["status"]["phase"] == "Failed", what="the pod's end", timeout_s=120)
    ended = api.pod("work", "ends")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 3


def test_a_deleted_pod_goes_when_its_container_has_ended(api: Api, real_kubelet: RealKubelet) -> None:
    """A real kubelet confirms the end, so no force is needed."""
    api.create_pod("work", pod("leaves"))
    real_kubelet.wait_running("work", "leaves")
    api.delete_pod("work", "leaves")
    wait_until(lambda: not api.exists("/api/v1/namespaces/work/pods/leaves"), what="the pod to be gone", timeout_s=120)


def test_pods_run_on_while_the_kubelet_restarts(api: Api, real_kubelet: RealKubelet) -> None:
    """The same container is there afterwards: its id and start time have not changed."""
    api.create_pod("work", pod("stays"))
    before = real_kubelet.wait_running("work", "stays")["status"]["containerStatuses"][0]
    real_kubelet.restart()
    after = real_kubelet.wait_running("work", "stays")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["state"]) == (before["containerID"], before["state"])


def test_the_checkpoint_can_be_wiped_only_while_the_kubelet_is_stopped(real_kubelet: RealKubelet) -> None:
    """Otherwise the kubelet would write it again from memory."""
    with pytest.raises(RuntimeError, match="stop"):
        real_kubelet.wipe_checkpoint()
    real_kubelet.stop()
    real_kubelet.wipe_checkpoint()
    assert not real_kubelet.checkpoint.exists()
    real_kubelet.start()


def test_device_plugins_find_both_sockets_of_the_kubelet(real_kubelet: RealKubelet) -> None:
    """One to register at, one to read which devices it gave to whom."""
    assert (real_kubelet.device_plugins_folder / "kubelet.sock").is_socket()
    wait_until(real_kubelet.podresources_socket.is_socket, what=f"the socket {real_kubelet.podresources_socket}")
