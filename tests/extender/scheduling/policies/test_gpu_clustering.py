"""GPU clustering keeps pods of one kind together."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.gpu_clustering import GpuClustering
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import check_policy, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = GpuClustering()


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=2)


def test_nodes_with_its_own_kind_come_first() -> None:
    """Shares are one kind, whole GPUs another, by their number."""
    shared = holder("a", on({0: 2}), pod(2))
    whole = holder("b", on(whole=[1]), pod(gpus=1))
    own, others = node_of(16, 16, 16, holders=[shared]), node_of(16, 16, 16, holders=[whole])
    assert prefers(own, others, pod(8), POLICY)
    assert prefers(others, own, pod(gpus=1), POLICY)


def test_then_the_node_with_least_left_comes_first() -> None:
    """Among nodes with, and among nodes without its kind."""
    assert prefers(node_of(16), node_of(16, 16), pod(8), POLICY)


def test_a_pod_without_gpus_goes_anywhere() -> None:
    """It clusters with no other pod."""
    one, other = node_of(16), node_of(16, holders=[holder("a", on({0: 2}), pod(2))])
    assert not prefers(one, other, pod(), POLICY)
    assert not prefers(other, one, pod(), POLICY)
