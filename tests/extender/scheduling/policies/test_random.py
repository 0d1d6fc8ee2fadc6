"""Random finds all nodes alike; the caller draws one."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.random import Random
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import answer, check_policy, gpu_chosen, node_of, pod
from tests.extender.scheduling.strategies import nodes, requests

POLICY = Random()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_all_nodes_cost_the_same() -> None:
    """Ties are broken at random by the benchmark."""
    full = node_of(16, holders=[holder("a", on({0: 8}))])
    assert answer(full, pod(8), POLICY).cost == answer(node_of(16, 16), pod(8), POLICY).cost


def test_the_gpu_is_drawn() -> None:
    """It depends on what the node looks like, and is the same for the same node."""
    chosen = {gpu_chosen(node_of(16, 16, 16, 16, cpu_milli=1000), pod(units), POLICY) for units in range(1, 17)}
    assert len(chosen) > 1
