"""A container has to have what its pod asks for: so many GPUs, of a planned model, and no MIG device unasked."""

from dataclasses import replace

import pytest

from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.deciding.keeping import COUNT_NOT_KEPT, MODEL_NOT_KEPT, find_breach
from device_plugin.pods.pod import BoundPod
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, memory, placed, pod, sample, slice_of, whole

A, B, SLICE = GpuUuid("GPU-a"), GpuUuid("GPU-b"), GpuUuid("MIG-1")
OTHER = GpuUuid("GPU-c")
"""Of another model than A and B."""
NODE = Gpus(
    UNIT_MIB,
    (
        sample(A),
        sample(B, index=1),
        slice_of("GPU-p", SLICE, index=2),
        replace(sample(OTHER, index=3), model="NVIDIA A10"),
    ),
)
ON_A, ON_SLICE = {"main": placed(a=8)}, {"main": {SLICE: placed(x=8)[GpuUuid("GPU-x")]}}
PLAIN = pod("p", whole(count=1), plan=ON_A)
NAMED = pod("p", whole(count=1), plan=ON_SLICE, gpu_model="*MIG-1g.10gb")


def reason(of: BoundPod, *given: GpuUuid, node: Gpus | None = NODE) -> str:
    """Which Event a container gets with these GPUs; empty for none."""
    breach = find_breach(of, "main", given, node, Names())
    return "" if breach is None else breach.reason


@pytest.mark.parametrize(
    ("of", "given", "expected"),
    [
        (pod("p", memory(), gpu_count=2), (A,), COUNT_NOT_KEPT),
        (pod("p", memory(), gpu_count=2), (A, B), ""),
        (PLAIN, (SLICE,), MODEL_NOT_KEPT),
        (PLAIN, (B,), ""),
        (PLAIN, (OTHER,), ""),
        (NAMED, (A,), MODEL_NOT_KEPT),
        (NAMED, (SLICE,), ""),
        (pod("p", whole(count=1), plan=ON_A, gpu_model="T4"), (OTHER,), MODEL_NOT_KEPT),
        (pod("p", memory(), plan=ON_A, gpu_model="T4"), (OTHER,), MODEL_NOT_KEPT),
        (pod("p", memory(), plan=ON_A, gpu_model="!*MIG*"), (SLICE,), MODEL_NOT_KEPT),
        (pod("p", memory(), plan=ON_A, gpu_model="T4"), (B,), ""),
        (pod("p", memory(), plan=ON_A), (SLICE,), ""),
    ],
)
def test_what_a_container_must_not_start_with(of: BoundPod, given: tuple[GpuUuid, ...], expected: str) -> None:
    """A GPU of a planned model may be any of them; who names no model takes all, but whole only a GPU."""
    assert reason(of, *given) == expected


def test_what_cannot_be_known_stops_nobody() -> None:
    """A pod that was bound by hand, a planned GPU that is gone, GPUs that are not read yet, another's container."""
    named = pod("p", memory(), plan=ON_A, gpu_model="T4")
    assert reason(replace(named, plan={}), OTHER) == ""
    assert reason(named, OTHER, node=Gpus(UNIT_MIB, NODE.samples[1:])) == ""
    assert reason(named, OTHER, node=None) == ""
    assert find_breach(named, "sidecar", [OTHER], NODE, Names()) is None


def test_a_plan_of_an_older_extender_is_kept() -> None:
    """It planned a MIG device for a pod that does not name one; any will do."""
    assert reason(replace(PLAIN, plan=ON_SLICE), SLICE) == ""


def test_the_text_says_what_came_instead_of_what() -> None:
    """And what to do."""
    breach = find_breach(NAMED, "main", [A], NODE, Names())
    assert breach is not None
    assert breach.text == (
        "it is on Tesla T4 instead of NVIDIA A100-SXM4-80GB MIG 1g.10gb (gpupack.io/gpu-model): "
        "delete the pod, so that it is placed anew"
    )
    swapped = find_breach(PLAIN, "main", [SLICE], NODE, Names())
    assert swapped is not None
    assert swapped.text.startswith("its whole GPU is a MIG device (NVIDIA A100-SXM4-80GB MIG 1g.10gb): ")
