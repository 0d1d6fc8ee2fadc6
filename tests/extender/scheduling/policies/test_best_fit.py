"""Best fit fills the node with least left."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.best_fit import BestFit
from tests.extender.scheduling.policies.properties import check_policy, learned, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = BestFit(learned())


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_the_smaller_remainder_wins() -> None:
    """In GPU units, and in CPU."""
    assert prefers(node_of(16), node_of(16, 16), pod(8), POLICY)
    assert prefers(node_of(16, cpu_milli=32_000), node_of(16), pod(8), POLICY)


def test_nearly_alike_is_alike() -> None:
    """Scores are whole numbers from 0 to 100."""
    one, other = node_of(16, cpu_milli=64_000), node_of(16, cpu_milli=64_100)
    assert (prefers(one, other, pod(8), POLICY), prefers(other, one, pod(8), POLICY)) == (False, False)
