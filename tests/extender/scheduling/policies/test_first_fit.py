"""First fit leaves the choice to the order of nodes."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.first_fit import FirstFit
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import answer, check_policy, gpu_chosen, node_of, pod
from tests.extender.scheduling.strategies import nodes, requests

POLICY = FirstFit()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_all_nodes_cost_the_same() -> None:
    """Empty or nearly full."""
    full = node_of(16, holders=[holder("a", on({0: 8}))])
    assert answer(full, pod(8), POLICY).cost == answer(node_of(16, 16), pod(8), POLICY).cost


def test_the_tightest_gpu_is_chosen() -> None:
    """Best fit within the node."""
    assert gpu_chosen(node_of(16, 16, holders=[holder("a", on({1: 4}))]), pod(8), POLICY) == 1
