"""The simulated cluster runs the real extender and the real device plugin end to end."""

from collections.abc import Iterator
from typing import Any

import pytest

from bench.simulated.cluster import ClusterSettings, SimulatedCluster
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.allocation import parse_allocation
from extender.contract.names import Names
from tests.checker import Checker

NAMES = Names()
NODES = (
    MachineSpec("t4", (GpuSpec("Tesla T4", 15360, 2),)),
    MachineSpec("mixed", (GpuSpec("NVIDIA A10", 24576), GpuSpec("NVIDIA A100-SXM4-80GB", 81920))),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SimulatedCluster]:
    """Two nodes with three models of GPUs."""
    with SimulatedCluster(ClusterSettings(NODES)) as running:
        yield running


def _allocated(pod: dict[str, Any]) -> dict[str, dict[str, int]]:
    text = pod["metadata"]["annotations"][NAMES.allocated_annotation]
    return _plain(text)


def _plain(text: str) -> dict[str, dict[str, int]]:
    containers = parse_allocation(text).containers
    return {name: {str(uuid): int(units) for uuid, units in gpus.items()} for name, gpus in containers.items()}


def _reported(cluster: SimulatedCluster, name: str) -> dict[str, Any]:
    return cluster.client.wait_for_pod(
        name,
        lambda pod: NAMES.allocated_annotation in (pod["metadata"].get("annotations") or {}),
        "to be reported by the device plugin",
    )


def test_a_pod_runs_on_the_gpu_that_the_extender_chose(cluster: SimulatedCluster) -> None:
    """From the request to the container's environment, with plan, report and the kubelet's account equal."""
    with Checker(cluster.client) as checker:
        cluster.client.create_pod(gpu_pod("a", {NAMES.memory_resource: 40}))
        cluster.client.wait_for_phase("a", "Running")
        pod = _reported(cluster, "a")
        wait_until(lambda: checker.usage("mixed") == {"GPU-mixed-1": 40}, "the checker to have seen it")
        violations = checker.settle()
    planned = _plain(pod["metadata"]["annotations"][NAMES.allocation_annotation])
    kubelet = cluster.nodes["mixed"].kubelet
    held = kubelet.devices_of(pod)["main"][NAMES.memory_resource]
    assert _allocated(pod) == {"main": {"GPU-mixed-1": 40}} == planned
    assert (len(held), {name.rpartition("-")[0] for name in held}) == (40, {"GPU-mixed-1"})
    assert kubelet.environment(pod)["NVIDIA_VISIBLE_DEVICES"] == "GPU-mixed-1"
    assert violations == ()
    cluster.client.delete_pod("a")
    cluster.client.wait_gone("a")


def test_an_unhealthy_gpu_goes_and_comes_back(cluster: SimulatedCluster) -> None:
    """Its units leave allocatable, and return."""

    def allocatable() -> str:
        return str((cluster.client.node("t4") or {})["status"]["allocatable"][NAMES.memory_resource])

    node = cluster.nodes["t4"]
    node.set_unhealthy([0])
    wait_until(lambda: allocatable() == "15", "one GPU to be gone")
    node.set_unhealthy([])
    wait_until(lambda: allocatable() == "30", "both GPUs to be there")


def test_a_killed_extender_comes_back_and_schedules(cluster: SimulatedCluster) -> None:
    """The scheduler reports an error meanwhile and tries again."""
    cluster.extender.kill()
    cluster.client.create_pod(gpu_pod("b", {NAMES.memory_resource: 4}))
    wait_until(lambda: cluster.client.events_of("b"), "the failure to be told")
    cluster.extender.start()
    cluster.client.wait_for_phase("b", "Running")
    cluster.client.delete_pod("b")
    cluster.client.wait_gone("b")


def test_hollow_nodes_are_scheduled_too() -> None:
    """Objects only: for loads of thousands of nodes."""
    nodes = tuple(MachineSpec(f"h{number}", (GpuSpec("NVIDIA H100", 81920, 8),)) for number in range(5))
    with SimulatedCluster(ClusterSettings(nodes, hollow=True)) as cluster, Checker(cluster.client) as checker:
        for number in range(20):
            cluster.client.create_pod(gpu_pod(f"p{number}", {NAMES.memory_resource: 40}))
        wait_until(lambda: checker.bound() == 20, "all pods to be bound")
        assert checker.violations == ()
