"""Inference and notebooks share GPUs, follow their autoscalers, and hold nothing while they are scaled to zero."""

from collections.abc import Iterator

import pytest

from tests.e2e.examples.cluster import ExampleCluster, Walk
from tests.e2e.examples.customresources import INFERENCE_SERVICE, KNATIVE_SERVICE, NOTEBOOK
from tests.e2e.examples.servingoperators import knative_deployment, kserve_deployment, notebook_statefulset

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
WAITING = "inference_requests_waiting"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def test_inference_with_an_autoscaler(cluster: ExampleCluster, walk: Walk) -> None:
    """The real autoscaler follows the queue's length; five replicas share the four GPUs that are large enough."""
    cluster.metrics.values[WAITING] = 0
    walk.step()
    assert [set(pod.gpus.values()) for pod in cluster.placed("app=llm", 1)] == [{16}]
    cluster.metrics.values[WAITING] = 20
    pods = cluster.placed("app=llm", 5)
    assert [list(pod.gpus.values()) for pod in pods] == [[16]] * 5
    assert len({uuid for pod in pods for uuid in pod.gpus}) < 5
    cluster.wait_conserved(pods)
    listed = walk.step()
    assert all(pod.name in listed for pod in pods)
    cluster.metrics.values[WAITING] = 2
    cluster.wait_conserved(cluster.placed("app=llm", 1))
    walk.step()


def test_scale_to_zero_with_knative(cluster: ExampleCluster, walk: Walk) -> None:
    """Three pods beside each other, none, and one again; the queue-proxy holds no GPU."""
    walk.step()
    assert cluster.pods("serving.knative.dev/service=embedder") == []
    deployment = knative_deployment(cluster.custom(KNATIVE_SERVICE, "embedder"), replicas=3)
    cluster.create(deployment)
    walk.step()
    _follow_scale(cluster, deployment["metadata"]["name"], "serving.knative.dev/service=embedder", {"user-container"})
    walk.step()


def test_scale_to_zero_with_kserve(cluster: ExampleCluster, walk: Walk) -> None:
    """The same behind an InferenceService, whose pods fetch the model in an init container first."""
    walk.step()
    deployment = kserve_deployment(cluster.custom(INFERENCE_SERVICE, "classifier"), replicas=3)
    cluster.create(deployment)
    walk.step()
    selector = "serving.kserve.io/inferenceservice=classifier"
    _follow_scale(cluster, deployment["metadata"]["name"], selector, {"kserve-container"})
    walk.step()


def _follow_scale(cluster: ExampleCluster, deployment: str, selector: str, holders: set[str]) -> None:
    """Three replicas have a share each, none hold nothing, and one comes back."""
    pods = cluster.placed(selector, 3)
    assert [set(pod.containers) for pod in pods] == [holders] * 3
    cluster.wait_conserved(pods)
    for replicas in (0, 1):
        cluster.patch(f"{DEPLOYMENTS}/{deployment}/scale", {"spec": {"replicas": replicas}})
        if not replicas:
            cluster.wait_gone(selector)
        cluster.wait_conserved(cluster.placed(selector, replicas))


@pytest.fixture
def _volume(cluster: ExampleCluster) -> Iterator[None]:
    """What a storage class would make when a notebook claims it."""
    body = {
        "metadata": {"name": "work"},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/nowhere"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    cluster.client.request("POST", "/api/v1/persistentvolumes", body)
    yield
    cluster.client.request("DELETE", "/api/v1/persistentvolumes/work")


@pytest.mark.usefixtures("_volume")
def test_a_notebook(cluster: ExampleCluster, walk: Walk) -> None:
    """Scaled to 0 it holds nothing and keeps its volume; in the morning it gets its units again."""
    walk.step()
    pods = cluster.placed("app=notebook", 1)
    assert [list(pod.gpus.values()) for pod in pods] == [[10]]
    cluster.wait_conserved(pods)
    walk.step()
    cluster.wait_conserved()
    claim = "/api/v1/namespaces/default/persistentvolumeclaims/work-notebook-0"
    assert cluster.client.request("GET", claim)["status"]["phase"] == "Bound"
    walk.step()
    cluster.wait_conserved(cluster.placed("app=notebook", 1))
    walk.step()


def test_a_notebook_in_kubeflow(cluster: ExampleCluster, walk: Walk) -> None:
    """The StatefulSet that the notebook controller makes carries limits and scheduler through."""
    walk.step()
    notebook = cluster.custom(NOTEBOOK, "exploration")
    cluster.create(notebook_statefulset(notebook))
    walk.step()
    (pod,) = cluster.placed("notebook-name=exploration", 1)
    assert list(pod.gpus.values()) == [12]
    cluster.wait_conserved([pod])
    stopped = {"metadata": {"annotations": {"kubeflow-resource-stopped": "2026-01-31T18:00:00Z"}}}
    replicas = notebook_statefulset(cluster.patch(NOTEBOOK.path("exploration"), stopped))["spec"]["replicas"]
    cluster.patch("/apis/apps/v1/namespaces/default/statefulsets/exploration", {"spec": {"replicas": replicas}})
    cluster.wait_gone("notebook-name=exploration")
    cluster.wait_conserved()
    walk.step()
