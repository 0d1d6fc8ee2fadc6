"""A training platform's jobs and workers: started in three ways, on one model, spread, drained and traced back."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.simulated.client import FailureStatusError
from bench.simulated.waiting import wait_until
from tests.e2e.examples.cluster import ExampleCluster, Walk
from tests.e2e.scenarios.environment import NAMES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
CRON_JOB = "/apis/batch/v1/namespaces/default/cronjobs/retrain"
DRAINED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def test_training_platform(cluster: ExampleCluster, walk: Walk) -> None:
    """By schedule, by hand and by event, each on an A100; the webhook's account can make Jobs and nothing else."""
    walk.step()
    # The real controller makes up for a start that it has missed.
    missed = datetime.now(UTC) - timedelta(days=2)
    cluster.patch(f"{CRON_JOB}/status", {"status": {"lastScheduleTime": missed.strftime("%Y-%m-%dT02:00:00Z")}})
    (scheduled,) = cluster.placed("app=retrain", 1)
    assert scheduled.name.startswith("retrain-")
    walk.step()
    webhook = cluster.control_plane.kubeconfig_for("default", "retrain-webhook")
    job = walk.step(kubeconfig=webhook).strip()
    pods = cluster.placed("app=retrain", 3)
    listed = walk.step()
    assert all(name in listed for name in ("retrain-by-hand", job, "trigger=webhook"))
    assert {cluster.model(uuid) for pod in pods for uuid in pod.gpus} == {"NVIDIA A100-SXM4-80GB"}
    assert [list(pod.gpus.values()) for pod in pods] == [[40]] * 3
    cluster.wait_conserved(pods)
    cluster.finish(scheduled)
    wait_until(lambda: _succeeded(cluster, scheduled.name), "the nightly job to be complete")
    cluster.wait_conserved([pod for pod in pods if pod.name != scheduled.name])
    with pytest.raises(RuntimeError, match="forbidden"):
        cluster.control_plane.kubectl("get", "pods", f"--kubeconfig={webhook}")
    walk.step()


def _succeeded(cluster: ExampleCluster, pod: str) -> bool:
    (job,) = [
        owner["name"]
        for owner in (cluster.client.pod(pod) or {})["metadata"]["ownerReferences"]
        if owner["kind"] == "Job"
    ]
    status = cluster.client.request("GET", f"/apis/batch/v1/namespaces/default/jobs/{job}")["status"]
    return bool(status.get("succeeded") == 1)


@pytest.fixture
def _cordon_taints(cluster: ExampleCluster) -> Iterator[None]:
    """Taints cordoned nodes, as the controller does that is left out of the control plane."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.05):
            for node in cluster.client.list_all("/api/v1/nodes")[0]:
                wanted = [DRAINED] if node["spec"].get("unschedulable") else None
                if bool(node["spec"].get("taints")) is not bool(wanted):
                    cluster.client.patch_node(node["metadata"]["name"], {"spec": {"taints": wanted}})

    thread = threading.Thread(target=follow, name="cordon-taints", daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(10)


@pytest.mark.usefixtures("_cordon_taints")
def test_highly_available_workers(cluster: ExampleCluster, walk: Walk) -> None:
    """One replica on each node though one GPU would hold all; never fewer than two; and Events say who was where."""
    walk.step()
    three = cluster.placed("app=workers", 3)
    assert {pod.node for pod in three} == {"gpu-a", "gpu-b", "gpu-c"}
    cluster.wait_conserved(three)
    walk.step()
    six = cluster.placed("app=workers", 6)
    assert Counter(pod.node for pod in six) == {"gpu-a": 2, "gpu-b": 2, "gpu-c": 2}
    cluster.wait_conserved(six)
    walk.step()
    cluster.wait_conserved(cluster.placed("app=workers", 3))
    walk.step()
    three = cluster.placed("app=workers", 3)
    wait_until(lambda: _may_be_evicted(cluster) == 1, "the budget to have counted the three")
    assert _evict(cluster, three[0].name) == 201
    assert _evict(cluster, three[1].name) == 429
    three = cluster.placed("app=workers", 3)
    for pod in (*six, *three):
        wait_until(
            lambda pod=pod: {"GpupackPlaced"} <= {event["reason"] for event in cluster.client.events_of(pod.name)},  # type: ignore[misc]
            f"{pod.name} to be told of",
        )
    told = walk.step()
    assert all(pod.name in told for pod in [*six, *three])
    plans = [pod.body["metadata"]["annotations"][NAMES.allocation_annotation] for pod in three]
    assert all('"policy"' in plan and '"at"' in plan for plan in plans)
    walk.step()


def _may_be_evicted(cluster: ExampleCluster) -> int:
    """How many of the workers the budget gives away now."""
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/workers"
    allowed: int = cluster.client.request("GET", path)["status"].get("disruptionsAllowed", 0)
    return allowed


def _evict(cluster: ExampleCluster, pod: str) -> int:
    """Ask for an eviction, as a drain does; the status of the answer."""
    body: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    try:
        cluster.client.request("POST", f"/api/v1/namespaces/default/pods/{pod}/eviction", body)
    except FailureStatusError as error:
        return error.status
    return 201
