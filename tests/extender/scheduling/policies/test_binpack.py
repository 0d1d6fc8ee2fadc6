"""Binpack opens as few GPUs as it can."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.binpack import Binpack
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import check_policy, gpu_chosen, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = Binpack()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=3)


def test_a_gpu_in_use_comes_before_an_idle_one() -> None:
    """The tightest of those that fit."""
    node = node_of(16, 16, 16, holders=[holder("a", on({1: 4})), holder("b", on({2: 8}))])
    assert gpu_chosen(node, pod(8), POLICY) == 2


def test_a_node_that_opens_no_gpu_comes_first() -> None:
    """Even where more is left on it."""
    assert prefers(node_of(16, 16, holders=[holder("a", on({0: 2}))]), node_of(16), pod(8), POLICY)
