"""Exclusive packs whole GPUs onto full nodes."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.exclusive import Exclusive
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import check_policy, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = Exclusive()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_the_node_with_fewest_gpus_left_comes_first() -> None:
    """The last idle GPU of a node before one of many."""
    packed = node_of(16, 16, holders=[holder("a", on(whole=[0]))])
    assert prefers(packed, node_of(16, 16), pod(gpus=1), POLICY)
