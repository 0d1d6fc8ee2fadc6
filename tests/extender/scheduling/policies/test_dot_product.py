"""Dot product goes where little of what is asked is free."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.dot_product import DotProduct
from tests.extender.scheduling.policies.properties import answer, check_policy, learned, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = DotProduct(learned())


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_less_of_what_is_asked_is_better() -> None:
    """A pod that needs CPU goes to the node with little of it."""
    assert prefers(node_of(16, cpu_milli=32_000), node_of(16), pod(8, cpu_milli=16_000), POLICY)


def test_the_cost_is_the_product_in_parts_of_the_largest_node() -> None:
    """100 - 50 x (32/64 x 64/64 + 8/64 x 16/64), rounded down: the higher, the better."""
    assert answer(node_of(16), pod(8, cpu_milli=32_000), POLICY).cost == (-73.0,)


def test_what_is_not_asked_does_not_count() -> None:
    """GPUs matter to no pod that asks for none."""
    one, other = node_of(16), node_of(16, 16, 16)
    assert not prefers(one, other, pod(cpu_milli=1000), POLICY)
    assert not prefers(other, one, pod(cpu_milli=1000), POLICY)
