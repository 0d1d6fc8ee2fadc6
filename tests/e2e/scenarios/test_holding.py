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
TAKES_S = 5.0
"""Longer than a hold of which nothing tells."""

CLAIM = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


def made(pod: str, _node: str) -> str:
    """The volume of `slow` takes its time, and that of `zombie` can't be made."""
    time.sleep(TAKES_S if pod == "slow" else 0.3)
    return "binding volumes: provisioning failed" if pod == "zombie" else ""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Environment]:
    """A node with one GPU of 16."""
    with ApiServer() as server:
        backend = SimulatedBackend(server, tmp_path)
        backend.volumes = made
        environment = Environment(backend, extender_arguments=("--hold-s", str(HOLD_S)))
        try:
            environment.start()
            environment.add_hollow_node(MachineSpec("n", (GpuSpec("P100", 16384),)))
            wait_until(environment.extender_nodes, "the extender to know the node")
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
    cluster.wait_bound("slow")
    late = cluster.client.pod("late")
    assert late is not None
    assert "nodeName" not in late["spec"]


def test_a_pod_whose_attempts_fail_keeps_nobody_out(cluster: Environment) -> None:
    """Whoever comes while it is tried is placed as soon as an attempt has failed."""
    cluster.client.create_pod(gpu_pod("zombie", {MEMORY: 10}, volumes=CLAIM))
    wait_until(lambda: cluster.calls("filter") >= 3, "three attempts of zombie")
    cluster.client.create_pod(gpu_pod("good", {MEMORY: 10}))
    cluster.wait_bound("good", timeout_s=20)
