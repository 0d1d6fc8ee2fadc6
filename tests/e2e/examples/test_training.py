"""Training jobs of operators and of Kubernetes itself get whole GPUs or shares, beside jobs of another scheduler."""

import pytest

from tests.e2e.examples.cluster import ExampleCluster, Walk
from tests.e2e.examples.customresources import EXPERIMENT, PYTORCH_JOB, TF_JOB, VOLCANO_JOB
from tests.e2e.examples.trainingoperators import katib_trials, pytorchjob_pods, tfjob_pods, volcano_pods

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_pytorchjob_on_whole_gpus(cluster: ExampleCluster, walk: Walk) -> None:
    """Three replicas, three A100, and nothing else gets onto them."""
    walk.step()
    cluster.create(*pytorchjob_pods(cluster.custom(PYTORCH_JOB, "resnet")))
    walk.step()
    pods = cluster.placed("training.kubeflow.org/job-name=resnet", 3)
    assert [pod.name for pod in pods] == ["resnet-master-0", "resnet-worker-0", "resnet-worker-1"]
    assert all(list(pod.gpus.values()) == [80] for pod in pods)
    assert len({uuid for pod in pods for uuid in pod.gpus}) == 3
    assert {cluster.model(uuid) for pod in pods for uuid in pod.gpus} == {"NVIDIA A100-SXM4-80GB"}
    cluster.wait_conserved(pods)
    walk.step()


def test_pytorchjob_on_shares(cluster: ExampleCluster, walk: Walk) -> None:
    """Four replicas of 20 fill one GPU of 80."""
    walk.step()
    cluster.create(*pytorchjob_pods(cluster.custom(PYTORCH_JOB, "tryout")))
    walk.step()
    pods = cluster.placed("training.kubeflow.org/job-name=tryout", 4)
    assert [list(pod.gpus.values()) for pod in pods] == [[20]] * 4
    assert len({uuid for pod in pods for uuid in pod.gpus}) == 1
    cluster.wait_conserved(pods)
    walk.step()


def test_tfjob_on_whole_gpus(cluster: ExampleCluster, walk: Walk) -> None:
    """Chief and workers have a GPU each, the parameter server has none."""
    walk.step()
    cluster.create(*tfjob_pods(cluster.custom(TF_JOB, "recommender")))
    walk.step()
    pods = cluster.placed("training.kubeflow.org/job-name=recommender", 4)
    assert {pod.name: len(pod.gpus) for pod in pods} == {
        "recommender-chief-0": 1,
        "recommender-ps-0": 0,
        "recommender-worker-0": 1,
        "recommender-worker-1": 1,
    }
    assert len({uuid for pod in pods for uuid in pod.gpus}) == 3
    cluster.wait_conserved(pods)
    walk.step()


def test_parallel_trials(cluster: ExampleCluster, walk: Walk) -> None:
    """Six at a time share the four A100; each that ends makes room for the next."""
    walk.step()
    first = cluster.placed("job-name=trials", 6)
    assert [list(pod.gpus.values()) for pod in first] == [[10]] * 6
    assert {cluster.model(uuid) for pod in first for uuid in pod.gpus} == {"NVIDIA A100-SXM4-80GB"}
    assert len({uuid for pod in first for uuid in pod.gpus}) <= 4
    cluster.wait_conserved(first)
    cluster.finish(*first)
    second = cluster.placed("job-name=trials", 6)
    assert not {pod.name for pod in first} & {pod.name for pod in second}
    cluster.wait_conserved(second)
    cluster.finish(*second)
    walk.step()
    cluster.wait_conserved()
    walk.step()


def test_parallel_trials_with_katib(cluster: ExampleCluster, walk: Walk) -> None:
    """Four trials at a time have a share each; the metrics collector beside each holds nothing."""
    walk.step()
    cluster.create(*katib_trials(cluster.custom(EXPERIMENT, "search"), ["0.01", "0.02", "0.03", "0.04"]))
    walk.step()
    pods = cluster.placed("katib.kubeflow.org/experiment=search", 4)
    assert [pod.body["spec"]["containers"][0]["command"][-1] for pod in pods] == [
        f"--lr={value}" for value in ("0.01", "0.02", "0.03", "0.04")
    ]
    assert [set(pod.containers) for pod in pods] == [{"trial"}] * 4
    assert sum(units for pod in pods for units in pod.gpus.values()) == 60
    cluster.wait_conserved(pods)
    walk.step()


def test_volcano_alongside_kube_scheduler(cluster: ExampleCluster, walk: Walk) -> None:
    """What Volcano has bound past the extender counts; gpupack's own pods go around it."""
    walk.step()
    pods = volcano_pods(cluster.custom(VOLCANO_JOB, "simulation"))
    cluster.create(*pods)
    for pod in pods:
        # By the node's total, as Volcano counts: both fit on gpu-a.
        cluster.client.bind_pod(pod["metadata"]["name"], "gpu-a")
    walk.step()
    theirs = cluster.placed("volcano.sh/job-name=simulation", 2)
    ours = cluster.placed("job-name=evaluation", 4)
    assert {pod.node for pod in theirs} == {"gpu-a"}
    assert [list(pod.gpus.values()) for pod in theirs] == [[50]] * 2
    assert [list(pod.gpus.values()) for pod in ours] == [[30]] * 4
    assert {cluster.model(uuid) for pod in ours for uuid in pod.gpus} == {"NVIDIA A100-SXM4-80GB"}
    cluster.wait_conserved(theirs, ours)
    # One more by the node's total alone: refused with the reason, and nothing is given out twice.
    greedy = {**pods[0], "metadata": {"name": "greedy"}}
    cluster.create(greedy)
    cluster.client.bind_pod("greedy", "gpu-a")
    refused = cluster.client.wait_for_phase("greedy", "Failed")["status"]
    assert refused["reason"] in {"UnexpectedAdmissionError", "OutOfgpupack.io/gpu-mem"}
    cluster.wait_conserved(theirs, ours)
    cluster.client.delete_pod("greedy")
    walk.step()
