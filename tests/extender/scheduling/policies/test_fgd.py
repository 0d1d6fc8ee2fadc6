"""FGD places a pod where it adds least fragmentation."""

from hypothesis import given

from extender.scheduling.learning.fragmentation import TypicalPod
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.models import ANY_MODEL
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.fgd import Fgd
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import check_policy, gpu_chosen, learned, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = Fgd(learned(typical=(TypicalPod(1000, 8, 1, ANY_MODEL, 0.6), TypicalPod(1000, 0, 1, ANY_MODEL, 0.4))))


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_a_hole_that_is_a_fragment_already_is_filled_first() -> None:
    """4 free units are of no use to a typical pod; of 16 units, 12 would be left of less use."""
    node = node_of(16, 16, holders=[holder("a", on({1: 12}))])
    assert gpu_chosen(node, pod(4), POLICY) == 1


def test_a_node_is_ranked_by_the_same_score() -> None:
    """The score is a whole number from 0 to 100."""
    assert prefers(node_of(16, holders=[holder("a", on({0: 12}))]), node_of(16), pod(4), POLICY)


def test_without_typical_pods_all_nodes_are_alike() -> None:
    """Nothing is known of what will come."""
    blank = Fgd()
    one, other = node_of(16), node_of(16, holders=[holder("a", on({0: 4}))])
    assert not prefers(one, other, pod(4), blank)
    assert not prefers(other, one, pod(4), blank)
