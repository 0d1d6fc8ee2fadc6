"""Compute is a third resource: a hundred percent of each GPU, given out once, beside the container's memory."""

import json
from collections import Counter
from typing import Any

import pytest

from bench.simulated.kubelet.kubelet import KubeletSettings
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, NAMES, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]

CORE = NAMES.core_resource


def _run(environment: Environment, name: str, memory: int, core: int, *, count: int = 1) -> list[str]:
    """The GPUs of a pod that runs and whose node has said where."""
    limits = {MEMORY: memory, **({CORE: core} if core else {})}
    annotations = {NAMES.count_annotation: str(count)}
    environment.client.create_pod(gpu_pod(name, limits, annotations=annotations))
    pod = environment.client.wait_for_pod(
        name,
        lambda found: (
            found["status"].get("phase") == "Running"
            and NAMES.allocated_annotation in found["metadata"].get("annotations", {})
        ),
        "to run with its GPUs reported",
    )
    return sorted(json.loads(pod["metadata"]["annotations"][NAMES.allocated_annotation])["containers"]["main"])


def _pod(environment: Environment, name: str) -> dict[str, Any]:
    found = environment.client.pod(name)
    assert found is not None
    return found


def _used(environment: Environment) -> dict[str, int]:
    """Percent of compute charged to pods, by GPU, where there is any."""
    found = [gpu for node in environment.extender_nodes() for gpu in node["gpus"]]
    return {gpu["uuid"]: gpu["corePercent"]["used"] for gpu in found if gpu["corePercent"]["used"]}


def test_compute_of_a_gpu_is_given_out_once_and_told_to_the_container(start: Start) -> None:
    """The memory of all would fit on one GPU; the third with 60 percent waits, one that asks for none does not."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(a100=2)))
    first, second = (_run(environment, name, 4, 60) for name in ("first", "second"))
    assert len({*first, *second}) == 2
    pod = _pod(environment, "first")
    seen = node.kubelet.environment(pod)
    assert (seen["GPUPACK_GPU_CORE_PERCENT"], seen["GPUPACK_GPU_CORE_ENFORCEMENT"]) == ("60", "none")
    assert [seen["NVIDIA_VISIBLE_DEVICES"]] == first
    assert {device.rpartition("-c")[0] for device in node.kubelet.devices_of(pod)["main"][CORE]} == set(first)
    environment.client.create_pod(gpu_pod("third", {MEMORY: 4, CORE: 60}))
    environment.wait_refused("third", "1 GPU memory is free but not enough compute (gpu-core) on the same GPU")
    _run(environment, "without", 4, 0)
    wait_until(lambda: _used(environment) == {first[0]: 60, second[0]: 60}, "the ledger to have the compute of two")
    environment.client.delete_pod("first", grace_s=0)
    environment.client.wait_for_phase("third", "Running", timeout_s=30)
    wait_until(lambda: _used(environment) == {first[0]: 60, second[0]: 60}, "the third to be in the first one's place")


def test_compute_is_spread_over_gpus_as_memory_is(start: Start) -> None:
    """120 percent over two GPUs are 60 of each; 40 of both are left for another."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(a100=2)))
    both = _run(environment, "both", 8, 120, count=2)
    assert node.kubelet.environment(_pod(environment, "both"))["GPUPACK_GPU_CORE_PERCENT"] == "60"
    wait_until(lambda: _used(environment) == dict.fromkeys(both, 60), "60 percent of each to be charged")
    assert _run(environment, "beside", 8, 80, count=2) == both
    wait_until(lambda: _used(environment) == dict.fromkeys(both, 100), "both GPUs to be given out")


def test_compute_that_means_nothing_is_refused_with_the_reason(start: Start) -> None:
    """Without memory, or more than a GPU has."""
    environment = start()
    environment.add_hollow_node(MachineSpec("n0", gpus(a100=2)))
    wait_until(lambda: len(environment.extender_nodes()) == 1, "the extender to know the node")
    environment.client.create_pod(gpu_pod("alone", {CORE: 30}))
    environment.wait_refused("alone", "asks for gpu-core without gpu-mem, expected both")
    environment.client.create_pod(gpu_pod("much", {MEMORY: 4, CORE: 150}))
    environment.wait_refused("much", "gpu-core is 150, expected at most 100 percent for each of its GPUs")


def test_containers_of_one_size_and_several_shapes_are_told_apart(start: Start) -> None:
    """Admitted in random order, each gets as many GPUs as it asked for, and its compute where its memory is."""
    environment = start(kubelet=KubeletSettings(shuffled_admission=True, seed=3))
    node = environment.add_node(MachineSpec("n0", gpus(a100=4), pods=100))
    node.kubelet.hold_admissions()
    shapes = {f"pod-{number}": ((1, 0), (2, 0), (1, 20), (2, 20))[number % 4] for number in range(16)}
    for name, (count, core) in shapes.items():
        annotations = {NAMES.count_annotation: str(count), NAMES.policy_annotation: "spread"}
        limits = {MEMORY: 8, **({CORE: core} if core else {})}
        environment.client.create_pod(gpu_pod(name, limits, annotations=annotations))
        environment.wait_bound(name, timeout_s=60)
    wait_until(lambda: node.kubelet.waiting() == len(shapes), "all pods to wait for admission")
    node.kubelet.release_admissions()
    for name, (count, core) in shapes.items():
        environment.client.wait_for_phase(name, "Running", timeout_s=60)
        devices = node.kubelet.devices_of(_pod(environment, name))["main"]
        memory = Counter(device.rpartition("-")[0] for device in devices[MEMORY])
        compute = Counter(device.rpartition("-c")[0] for device in devices.get(CORE, ()))
        assert sorted(memory.values()) == [8 // count] * count
        assert compute == (dict.fromkeys(memory, core // count) if core else {})
