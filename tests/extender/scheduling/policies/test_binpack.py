"""Binpack opens as few GPUs as it can."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.binpack import Binpack
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import answer, check_policy, gpu_chosen, node_of, pod, prefers
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


def test_a_gpu_in_use_comes_before_an_idle_one_that_would_be_filled() -> None:
    """To open no GPU counts more than to leave little on one."""
    node = node_of(4, 16, holders=[holder("a", on({1: 2}))])
    assert gpu_chosen(node, pod(4), POLICY) == 1


def test_a_node_that_opens_no_gpu_comes_before_one_whose_gpu_would_be_filled() -> None:
    """The same between nodes."""
    assert prefers(node_of(16, holders=[holder("a", on({0: 2}))]), node_of(4), pod(4), POLICY)


def test_of_nodes_alike_in_that_the_smaller_hole_comes_first_and_then_the_fuller_node() -> None:
    """Units left on the GPUs touched, then the share of the node that is free."""
    tight, loose = node_of(16, holders=[holder("a", on({0: 8}))]), node_of(16, holders=[holder("a", on({0: 4}))])
    assert prefers(tight, loose, pod(4), POLICY)
    holders = [holder("a", on({0: 8}))]
    assert prefers(
        node_of(16, 16, holders=[*holders, holder("b", on(whole=[1]))]),
        node_of(16, 16, holders=holders),
        pod(4),
        POLICY,
    )


def test_whole_gpus_of_a_node_are_alike() -> None:
    """The first is taken, whatever its size."""
    assert gpu_chosen(node_of(32, 16), pod(gpus=1), POLICY) == 0


def test_the_cost_counts_gpus_opened_units_left_and_the_share_of_the_node_left() -> None:
    """On the GPUs touched, and on all of them."""
    node = node_of(16, 16, holders=[holder("a", on({0: 8}))])
    assert answer(node, pod(4), POLICY).cost == (0.0, 4.0, 20 / 32)
    assert answer(node, pod(12), POLICY).cost == (1.0, 4.0, 12 / 32)
