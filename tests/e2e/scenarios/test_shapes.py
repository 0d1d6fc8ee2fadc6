"""Every shape of pod ends on the GPUs that its spec allows, and its containers see exactly those."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bench.simulated.kubelet.kubelet import KubeletSettings
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.checker import Checker
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, NAMES, WHOLE, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]


def _container(name: str, limits: Mapping[str, int], **fields: Any) -> dict[str, Any]:
    resources = {"limits": {key: str(value) for key, value in limits.items()}}
    return {"name": name, "image": "simulated", "resources": resources, **fields}


def _run(environment: Environment, pod: dict[str, Any]) -> dict[str, Any]:
    """Create the pod and wait until it runs and the node has said what it got."""
    environment.client.create_pod(pod)
    return environment.client.wait_for_pod(
        pod["metadata"]["name"],
        lambda found: (
            found["status"].get("phase") == "Running"
            and NAMES.allocated_annotation in found["metadata"].get("annotations", {})
        ),
        "to run with its GPUs reported",
    )


def _placed(pod: Mapping[str, Any], annotation: str = NAMES.allocated_annotation) -> dict[str, dict[str, int]]:
    containers: dict[str, dict[str, int]] = json.loads(pod["metadata"]["annotations"][annotation])["containers"]
    return containers


def _model_of(environment: Environment, uuid: str) -> str:
    found = [gpu["model"] for node in environment.extender_nodes() for gpu in node["gpus"] if gpu["uuid"] == uuid]
    return str(found[0])


def test_the_container_sees_the_gpu_that_the_extender_chose(start: Start) -> None:
    """Plan, kubelet's account, annotation and environment name one GPU."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(a100=2, t4=2)))
    pod = _run(environment, gpu_pod("one", {MEMORY: 6}))
    ((uuid, units),) = _placed(pod)["main"].items()
    assert _placed(pod, NAMES.allocation_annotation) == {"main": {uuid: 6}} == _placed(pod)
    seen = node.kubelet.environment(pod)
    assert (seen["NVIDIA_VISIBLE_DEVICES"], seen["GPUPACK_GPU_MEM_MIB"], units) == (uuid, "6144", 6)
    assert {device.rpartition("-")[0] for device in node.kubelet.devices_of(pod)["main"][MEMORY]} == {uuid}


def test_containers_of_one_pod_get_their_own_share_each(start: Start) -> None:
    """Two GPU containers, one without; the sum does not have to come from one GPU (lesson 2)."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(t4=2)))
    containers = [_container("a", {MEMORY: 10}), _container("b", {MEMORY: 9}), {"name": "c", "image": "simulated"}]
    pod = _run(environment, gpu_pod("two", {}, containers=containers))
    placed = _placed(pod)
    assert {name: sum(units.values()) for name, units in placed.items()} == {"a": 10, "b": 9}
    assert all(len(units) == 1 for units in placed.values())
    assert set(placed["a"]) != set(placed["b"])
    assert "NVIDIA_VISIBLE_DEVICES" not in node.kubelet.environment(pod, "c")


def test_an_init_containers_memory_is_used_again_by_the_app_container(start: Start) -> None:
    """Init 12 and app 8 hold 12 together, on one GPU, as the kubelet's reuse of devices makes it."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(t4=2)))
    init = [_container("prepare", {MEMORY: 12})]
    pod = _run(environment, gpu_pod("with-init", {MEMORY: 8}, initContainers=init))
    (uuid,) = _placed(pod)["main"]
    wait_until(lambda: _allocated(environment, uuid) == 12, "12 units to be charged")
    _run(environment, gpu_pod("beside", {MEMORY: 3}))
    # 12 + 3 of 15: the first GPU is full now, and only the second one can take four.
    other = _run(environment, gpu_pod("other", {MEMORY: 4}))
    assert set(_placed(other)["main"]) != {uuid}


def _allocated(environment: Environment, uuid: str) -> int:
    return sum(gpu["allocated"] for node in environment.extender_nodes() for gpu in node["gpus"] if gpu["uuid"] == uuid)


def test_a_sidecar_keeps_its_share_beside_the_app_container(start: Start) -> None:
    """A restartable init container holds its memory for the pod's life."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(a100=1)))
    sidecar = [_container("cache", {MEMORY: 5}, restartPolicy="Always")]
    pod = _run(environment, gpu_pod("with-sidecar", {MEMORY: 8}, initContainers=sidecar))
    (uuid,) = _placed(pod)["main"]
    wait_until(lambda: _allocated(environment, uuid) == 13, "13 units to be charged")


@pytest.mark.parametrize("count", [2, 4])
def test_gpu_count_spreads_evenly_over_gpus_of_one_node(start: Start, count: int) -> None:
    """Each GPU gives the same number of units; the container sees all of them."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(a100=4)))
    annotations = {NAMES.count_annotation: str(count)}
    pod = _run(environment, gpu_pod("spread", {MEMORY: 20 * count}, annotations=annotations))
    assert sorted(_placed(pod)["main"].values()) == [20] * count
    seen = node.kubelet.environment(pod)
    assert set(seen["NVIDIA_VISIBLE_DEVICES"].split(",")) == set(_placed(pod)["main"])
    assert seen["GPUPACK_GPU_MEM_MIB_PER_GPU"].split(",") == [str(20 * 1024)] * count


def test_whole_gpus_and_shares_live_on_one_node_but_never_on_one_gpu(start: Start) -> None:
    """Two shares, two whole GPUs, four GPUs in all; a third whole GPU does not fit."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(a100=4)))
    with Checker(environment.client) as checker:
        spread = {NAMES.policy_annotation: "spread"}
        shares = [_run(environment, gpu_pod(f"share-{n}", {MEMORY: 8}, annotations=spread)) for n in range(2)]
        whole = _run(environment, gpu_pod("whole", {WHOLE: 2}))
        used = [uuid for pod in shares for uuid in _placed(pod)["main"]]
        assert len(set(used)) == 2
        assert not set(_placed(whole)["main"]) & set(used)
        environment.client.create_pod(gpu_pod("too-much", {WHOLE: 1}))
        environment.wait_refused("too-much", "no idle GPU for a whole-GPU request")
        assert checker.settle() == ()


def test_gpu_model_and_mixed_sizes_on_one_node(start: Start) -> None:
    """Each GPU has its own size; a pattern chooses the model, whatever else would be tighter (lesson 12)."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(a100=1, t4=3)))
    large = _run(environment, gpu_pod("large", {MEMORY: 16}))
    assert "A100" in _model_of(environment, next(iter(_placed(large)["main"])))
    chosen = {NAMES.model_annotation: "A100*"}
    picked = _run(environment, gpu_pod("picked", {MEMORY: 2}, annotations=chosen))
    assert "A100" in _model_of(environment, next(iter(_placed(picked)["main"])))
    refused = {NAMES.model_annotation: "!A100*"}
    small = _run(environment, gpu_pod("small", {MEMORY: 15}, annotations=refused))
    assert "T4" in _model_of(environment, next(iter(_placed(small)["main"])))


def test_lesson_01_64_containers_of_one_size_admitted_in_random_order(start: Start) -> None:
    """Whichever GPU each container got, the annotation says so, and the ledger and the kubelet agree."""
    environment = start(kubelet=KubeletSettings(shuffled_admission=True, seed=5))
    node = environment.add_node(MachineSpec("n0", gpus(a100=8), pods=200))
    node.kubelet.hold_admissions()
    for number in range(32):
        containers = [_container("a", {MEMORY: 10}), _container("b", {MEMORY: 10})]
        environment.client.create_pod(gpu_pod(f"pod-{number}", {}, containers=containers))
    for number in range(32):
        environment.wait_bound(f"pod-{number}", timeout_s=60)
    wait_until(lambda: node.kubelet.waiting() == 32, "all pods to wait for admission")
    node.kubelet.release_admissions()
    for number in range(32):
        environment.client.wait_for_phase(f"pod-{number}", "Running", timeout_s=60)

    def agreed() -> bool:
        return all(
            _as_devices(node.kubelet.devices_of(pod)) == _placed(pod) for pod in environment.client.pods("default")
        )

    wait_until(agreed, "every pod's annotation to be what the kubelet gave", timeout_s=30)
    wait_until(
        lambda: {gpu["allocated"] for gpu in environment.extender_nodes()[0]["gpus"]} == {80}, "the ledger to follow"
    )


def _as_devices(given: Mapping[str, Mapping[str, list[str]]]) -> dict[str, dict[str, int]]:
    """Container to units per GPU, from the kubelet's device IDs."""
    counted: dict[str, dict[str, int]] = {}
    for container, resources in given.items():
        for device in resources[MEMORY]:
            uuid = device.rpartition("-")[0]
            counted.setdefault(container, {}).setdefault(uuid, 0)
            counted[container][uuid] += 1
    return counted
