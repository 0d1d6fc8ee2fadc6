"""The robust price-fit also minds fragmentation, in coarse steps."""

from hypothesis import given

from extender.scheduling.learning.fragmentation import TypicalPod
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.models import ANY_MODEL
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.price_fit_robust import PriceFitRobust
from tests.extender.scheduling.builders import holder, on
from tests.extender.scheduling.policies.properties import answer, check_policy, learned, node_of, pod, prefers
from tests.extender.scheduling.strategies import nodes, requests

POLICY = PriceFitRobust(learned(typical=(TypicalPod(1000, 8, 1, ANY_MODEL, 1.0),)))


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_fragmentation_breaks_what_prices_find_alike() -> None:
    """Unlearned prices lose nothing on either node; 12 + 4 leaves no fragment, 4 of 12 leaves 8, 6 of 12 leaves 6."""
    tight, loose = node_of(16, holders=[holder("a", on({0: 10}))]), node_of(16, holders=[holder("a", on({0: 4}))])
    assert prefers(tight, loose, pod(6), POLICY)


def test_small_differences_are_none() -> None:
    """A step is 20 thousandths of a GPU."""
    assert answer(node_of(16, 16), pod(8), POLICY).cost == answer(node_of(16), pod(8), POLICY).cost
