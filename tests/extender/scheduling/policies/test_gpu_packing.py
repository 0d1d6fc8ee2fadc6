"""GPU packing fills GPUs in use, then nodes in use, then idle nodes."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.gpu_packing import GpuPacking
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import check_policy, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = GpuPacking()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=2)


def test_the_three_steps() -> None:
    """In this order, whatever is left."""
    in_use = node_of(16, 16, holders=[holder("a", on({0: 1}))])
    opened = node_of(16, 16, holders=[holder("a", on({0: 12}))])
    idle = node_of(16)
    assert prefers(in_use, opened, pod(8), POLICY)
    assert prefers(opened, idle, pod(8), POLICY)
    mostly_idle = node_of(16, 16, 16, 16, holders=[holder("a", on({0: 12}))])
    assert prefers(mostly_idle, idle, pod(8), POLICY)


def test_the_node_with_fewest_idle_gpus_is_opened() -> None:
    """Among idle nodes the smallest."""
    assert prefers(node_of(16), node_of(16, 16), pod(gpus=1), POLICY)
