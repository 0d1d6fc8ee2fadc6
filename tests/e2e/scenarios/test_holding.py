"""Room is held as long as an attempt lasts, end to end: on the simulated cluster, whose volumes the test makes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.scenarios.environment import MEMORY, Environment, SimulatedBackend

HOLD_S = 2.0
TAKES_S = {"slow": 5.0, "slower": 12.0, "zombie": 0.3}
"""What the volume of each pod takes; for the first two longer than a hold of which nothing tells."""

SPLIT = "GPU memory is free but split over several GPUs"
CLAIM = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


def made(pod: str, _node: str) -> str:
    """The volume of `zombie` can't be made."""
    time.sleep(TAKES_S[pod])
    return "binding volumes: provisioning failed" if pod == "zombie" else ""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Environment]:
    """A node with two GPUs of 16, and a pod of 10 on one of them: another one of 10 finds room, and of two only one.

    kube-scheduler's own account has room for both.
    """
    with ApiServer() as server:
        backend = SimulatedBackend(server, tmp_path)
        backend.volumes = made
        arguments = ("--hold-s", str(HOLD_S), "--scheduler-name", "default-scheduler")
        environment = Environment(backend, extender_arguments=arguments)
        try:
            environment.start()
            environment.add_hollow_node(MachineSpec("n", (GpuSpec("P100", 16384, 2),)))
            environment.client.create_pod(gpu_pod("a", {MEMORY: 10}))
            environment.wait_bound("a")
            yield environment
        finally:
            environment.stop()


def test_a_pod_that_waits_for_its_volume_keeps_its_room(cluster: Environment) -> None:
    """Another pod that comes meanwhile does not get it, although the hold's own time is over."""
    cluster.client.create_pod(gpu_pod("slow", {MEMORY: 10}, volumes=CLAIM))
    cluster.client.wait_for_pod("slow", lambda pod: bool(pod["status"].get("nominatedNodeName")), "nominated")
    time.sleep(HOLD_S + 0.5)
    assert cluster.explain("slow")["held"]["node"] == "n"
    cluster.client.create_pod(gpu_pod("late", {MEMORY: 10}))
    cluster.wait_refused("late", SPLIT)
    cluster.wait_bound("slow")


def test_a_pod_that_waits_for_its_volume_keeps_its_room_when_the_extender_restarts(cluster: Environment) -> None:
    """The new process sees where kube-scheduler waits to bind it; whoever comes next finds the room taken."""
    cluster.client.create_pod(gpu_pod("slower", {MEMORY: 10}, volumes=CLAIM))
    cluster.client.wait_for_pod("slower", lambda pod: bool(pod["status"].get("nominatedNodeName")), "nominated")
    cluster.extender.stop()
    cluster.extender.start(timeout_s=60)
    cluster.client.create_pod(gpu_pod("late", {MEMORY: 10}))
    cluster.wait_refused("late", SPLIT)
    cluster.wait_bound("slower")


def test_a_pod_whose_attempts_fail_keeps_nobody_out(cluster: Environment) -> None:
    """Whoever comes while it is tried is placed as soon as an attempt has failed."""
    cluster.client.create_pod(gpu_pod("zombie", {MEMORY: 10}, volumes=CLAIM))
    wait_until(lambda: cluster.calls("filter") >= 4, "three attempts of zombie")
    cluster.client.create_pod(gpu_pod("good", {MEMORY: 10}))
    cluster.wait_bound("good", timeout_s=20)
