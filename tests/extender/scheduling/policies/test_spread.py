"""Spread gives each pod room."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.spread import Spread
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import answer, check_policy, gpu_chosen, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = Spread()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=2)


def test_the_emptiest_gpu_is_chosen() -> None:
    """By share, so that a large GPU is as full as a small one."""
    assert gpu_chosen(node_of(16, 32, holders=[holder("a", on({1: 8}))]), pod(8), POLICY) == 0


def test_an_empty_node_comes_first() -> None:
    """Before one in use."""
    assert prefers(node_of(16), node_of(16, holders=[holder("a", on({0: 2}))]), pod(8), POLICY)


def test_costs_are_shares_in_use() -> None:
    """Of the fullest GPU touched, then of the node; GPUs held whole are full."""
    assert answer(node_of(16, 16), pod(8), POLICY).cost == (0.5, 0.25)
    assert answer(node_of(16, 16), pod(gpus=1), POLICY).cost == (1.0, 0.5)
    assert answer(node_of(), pod(), POLICY).cost == (0.0, 1.0)


def test_of_two_gpus_the_emptier_is_chosen_wherever_it_is() -> None:
    """Not the first."""
    assert gpu_chosen(node_of(16, 16, holders=[holder("a", on({0: 4}))]), pod(8), POLICY) == 1
