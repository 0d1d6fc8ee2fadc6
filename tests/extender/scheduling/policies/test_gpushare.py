"""Gpushare's node is the one that kube-scheduler's default scores choose."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.gpushare import Gpushare
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import answer, check_policy, gpu_chosen, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = Gpushare()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_the_emptiest_node_by_cpu_and_memory_comes_first() -> None:
    """Whatever its GPUs look like."""
    assert prefers(node_of(16, 16), node_of(16, cpu_milli=8000, memory_gib=32), pod(8), POLICY)


def test_balance_counts_as_much() -> None:
    """16 of 64 cores and 64 of 256 GiB: 75 free on the mean, and no imbalance."""
    assert answer(node_of(16), pod(8, cpu_milli=16_000, memory_gib=64), POLICY).cost == (-175.0,)


def test_the_tightest_gpu_is_chosen() -> None:
    """As gpushare does."""
    assert gpu_chosen(node_of(16, 16, holders=[holder("a", on({1: 4}))]), pod(8), POLICY) == 1
