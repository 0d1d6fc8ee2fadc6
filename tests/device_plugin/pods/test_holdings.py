"""What containers and pods hold is added up as the kubelet reuses it."""

from device_plugin.pods.holdings import core_by_container, core_by_gpu
from device_plugin.pods.pod import ContainerKey
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import memory, placed, pod

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


def test_compute_is_split_over_the_gpus_of_the_container_and_rounded_up() -> None:
    """31 percent over two GPUs are 16 on each; a plain init container's compute is what the later ones have."""
    needs = (memory("init", 4, ContainerKind.INIT, core=50), memory("main", 8, core=31))
    found = [pod("p", *needs, allocated={"init": placed(a=4), "main": placed(a=4, b=4)})]
    key = ContainerKey("uid-p", "main")
    assert core_by_container(found) == {(key, A): 16, (key, B): 16}
    assert core_by_gpu(found) == {A: 50, B: 16}
