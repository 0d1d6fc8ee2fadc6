"""Two teams with quotas: what one asks for beyond its own takes nothing from the other."""

import pytest

from bench.simulated.client import FailureStatusError
from bench.simulated.specs import gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.examples.cluster import ExampleCluster, Walk
from tests.e2e.scenarios.environment import MEMORY, WHOLE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_two_tenants(cluster: ExampleCluster, walk: Walk) -> None:
    """50 replicas wanted, 6 made; the second team gets all of its 5, and neither gets whole GPUs."""
    walk.step()
    assert "exceeded quota: gpus" in walk.step()
    red = cluster.placed("app=service", 6, "team-red")
    walk.step()
    blue = cluster.placed("app=service", 5, "team-blue")
    assert [set(pod.containers) for pod in red + blue] == [{"server"}] * 11
    cluster.wait_conserved(red, blue)
    assert _refusal(cluster, {WHOLE: 1}) == (403, "exceeded quota")
    assert _refusal(cluster, {MEMORY: 41}) == (403, "maximum gpupack.io/gpu-mem usage per Container is 40")
    # A pod that was refused is counted for a moment, until the quota's controller has looked.
    used = {"requests.gpupack.io/gpu": "0", f"requests.{MEMORY}": "120"}
    path = "/api/v1/namespaces/team-red/resourcequotas/gpus"
    wait_until(lambda: cluster.client.request("GET", path)["status"]["used"] == used, f"{used} to be used")
    walk.step()


def _refusal(cluster: ExampleCluster, limits: dict[str, int]) -> tuple[int, str]:
    """Status and the telling part of the message when the second team creates a pod with these limits."""
    with pytest.raises(FailureStatusError) as refused:
        cluster.client.create_pod(gpu_pod("greedy", limits, schedulerName="gpupack-scheduler"), "team-blue")
    texts = ("exceeded quota", "maximum gpupack.io/gpu-mem usage per Container is 40")
    return refused.value.status, next((text for text in texts if text in refused.value.message), refused.value.message)
