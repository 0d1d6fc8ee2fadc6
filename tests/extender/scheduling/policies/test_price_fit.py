"""Price-fit places a pod where it wastes least of what others would pay for."""

from hypothesis import given

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.price_fit import PriceFit
from tests.extender.scheduling.builders import T4, holder, on
from tests.extender.scheduling.policies.properties import (
    answer,
    check_policy,
    gpu_chosen,
    learned,
    node_of,
    pod,
    prefers,
)
from tests.extender.scheduling.strategies import nodes, requests

THIRD = 16 / 3
HOLES = tuple([0.0] * 5 + [THIRD] * 5 + [2 * THIRD] * 5 + [16.0] * 2)
"""All pods ask for 5 units, three of which fit on a GPU of 16."""

POLICY = PriceFit(learned(holes={16: HOLES}, cpu_per_unit=1000.0))


@given(node=nodes(), request=requests(most=2))
def test_it_ranks_whatever_fits(node: NodeInfo, request: PodRequest) -> None:
    """On any node, for any pod."""
    check_policy(POLICY, node, request, length=1)


def test_a_pod_that_pays_its_hole_costs_nothing() -> None:
    """5 units are worth 16 / 3, the third of a GPU, wherever three of them fit."""
    assert answer(node_of(16), pod(5), POLICY).cost == (0,)


def test_a_hole_that_is_worth_no_more_is_filled_first() -> None:
    """6 free units are worth one share of 5, 10 are worth two."""
    node = node_of(16, 16, holders=[holder("a", on({0: 6})), holder("b", on({1: 10}))])
    assert gpu_chosen(node, pod(6), POLICY) == 1


def test_a_wasted_pattern_costs_what_it_wastes() -> None:
    """Taking 6 of 16 leaves 10: two thirds remain, so nothing is lost; taking 7 leaves 9: a third is."""
    assert answer(node_of(16), pod(6), POLICY).cost == (0,)
    assert answer(node_of(16), pod(7), POLICY).cost[0] in (333, 334)


def test_cpu_that_strands_gpus_costs_them() -> None:
    """A CPU-only pod on a node whose CPU just suffices for its GPU takes half of the GPU with it."""
    tight, roomy = node_of(16, cpu_milli=16_000), node_of(16, cpu_milli=64_000)
    assert answer(tight, pod(cpu_milli=8000), POLICY).cost == (500,)
    assert prefers(roomy, tight, pod(cpu_milli=8000), POLICY)


def test_a_scarce_shape_asks_for_rent() -> None:
    """3 of 10 of the value used at abundance 0."""
    shape = NodeShape(((T4, 16),), 64, 256)
    scarce = PriceFit(learned(holes={16: HOLES}, cpu_per_unit=1000.0, abundance={shape: 0.0}))
    assert answer(node_of(16), pod(5), scarce).cost == (100,)


def test_before_anything_is_learned_a_hole_is_worth_its_size() -> None:
    """Then only the CPU decides, and the tightest GPU."""
    blank = PriceFit()
    node = node_of(16, 16, holders=[holder("a", on({1: 4}))])
    assert (gpu_chosen(node, pod(7), blank), answer(node, pod(7), blank).cost) == (1, (0,))
