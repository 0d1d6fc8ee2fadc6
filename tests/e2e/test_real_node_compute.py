"""Compute beside memory on a real node: the kubelet's account, the container's environment and the extender agree."""

import json
from collections import Counter

import pytest

from bench.simulated.waiting import wait_until
from extender.contract.quantity import parse_quantity
from tests.e2e.api import Json
from tests.e2e.podspecs import container, pod
from tests.e2e.realnode import GPUS, MEMORY, NAMES, NAMESPACE, ON_A100, RealNode, share, the_gpu, whole

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CORE = NAMES.core_resource


def with_core(name: str, units: int, core: int, **annotations: str) -> Json:
    """A pod on A100s with memory and compute."""
    return pod(name, container(limits={MEMORY: units, CORE: core}), annotations={**ON_A100, **annotations})


def compute(real_node: RealNode, found: Json) -> dict[str, int]:
    """Percent of each GPU that the kubelet's checkpoint keeps for a pod."""
    checkpoint = json.loads(real_node.kubelet.checkpoint.read_text(encoding="utf-8"))
    devices = {
        device
        for entry in checkpoint["Data"]["PodDeviceEntries"] or ()
        if entry["PodUID"] == found["metadata"]["uid"] and entry["ResourceName"] == CORE
        for group in entry["DeviceIDs"].values()
        for device in group
    }
    return dict(Counter(device.rpartition("-c")[0] for device in devices))


def test_compute_is_given_on_the_gpu_of_the_memory(real_node: RealNode) -> None:
    """The two Allocates of a container come in any order; its GPU and its percentage are one."""
    assert parse_quantity(real_node.kubelet.allocatable(CORE)) == 100 * GPUS
    for number in range(4):
        found = real_node.run(with_core(f"p{number}", 8, 60))
        uuid = the_gpu(found)
        assert compute(real_node, found) == {uuid: 60}
        seen = real_node.environment(f"p{number}")
        assert (seen["NVIDIA_VISIBLE_DEVICES"], seen["GPUPACK_GPU_CORE_PERCENT"]) == (uuid, "60")
        assert (seen["GPUPACK_GPU_MEM_MIB"], seen["GPUPACK_GPU_CORE_ENFORCEMENT"]) == ("8192", "none")
    assert len({the_gpu(found) for found in real_node.pods()}) == 4
    real_node.wait_agreed()


def test_compute_is_spread_with_gpu_count_and_given_once(real_node: RealNode) -> None:
    """Where none is left the pod waits, with memory free beside it; a share without compute does not."""
    both = real_node.run(with_core("both", 8, 160, **{NAMES.count_annotation: "2"}))
    assert sorted(compute(real_node, both).values()) == [80, 80]
    real_node.run(whole("six", 6, annotations=ON_A100))
    real_node.create(with_core("more", 8, 30))
    real_node.api.wait_unschedulable(NAMESPACE, "more", "not enough compute (gpu-core) on the same GPU")
    without = real_node.run(share("without", 8, annotations=ON_A100))
    assert the_gpu(without) in compute(real_node, both)
    real_node.delete("both")
    real_node.kubelet.wait_running(NAMESPACE, "more")


def test_an_init_containers_compute_is_used_again(real_node: RealNode) -> None:
    """70 for the init container and 40 for the app are 70, on the GPU of the memory."""
    init = container("prepare", {MEMORY: 4, CORE: 70}, arguments=("-for=100ms",))
    found = real_node.run(
        pod("init", container(limits={MEMORY: 8, CORE: 40}), init_containers=(init,), annotations=ON_A100)
    )
    uuid = the_gpu(found)
    assert compute(real_node, found) == {uuid: 70}
    assert real_node.environment("init")["GPUPACK_GPU_CORE_PERCENT"] == "40"
    wait_until(
        lambda: real_node.gpus()[uuid]["corePercent"] == {"used": 70, "free": 30}, what="the extender to charge 70"
    )
