"""The scenarios of a cost report add up, and only promise what fits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.capacity.case import Case, GpuPod
from extender.capacity.scenarios import Scenario, as_it_is, drainable, packed, scenarios_of, whole_of
from extender.scheduling.pods.models import RequestError
from tests.extender.capacity.clusters import machine, running
from tests.extender.scheduling.builders import A100, T4, UNIT_MIB, mig, on, record, shares, uuid, wholes


class _TwoDollars:
    """Every GPU costs two dollars an hour."""

    def usd_per_hour(self, model: str) -> float:
        """Whatever the model."""
        del model
        return 2.0


class _ByModel:
    """A T4 costs two dollars an hour, any other GPU five."""

    def usd_per_hour(self, model: str) -> float:
        """By the model."""
        return 2.0 if model == T4 else 5.0


PRICES = _TwoDollars()
NODES = (machine("n1", 16, 16), machine("n2", 16, 16))


def _pod(name: str, units: int, node: str = "", gpu: int = 0) -> GpuPod:
    record = running(name, node, units, gpu=gpu)
    footprint = record.footprint if node else None
    return GpuPod(name, "ml", "train", shares(units), shares(units), node, footprint)


def _case(*pods: GpuPod) -> Case:
    return Case("test", UNIT_MIB, NODES, pods, placed=True)


def test_as_it_is_counts_pods_where_they_are() -> None:
    """What is idle, what is fragmented, and who pays for what."""
    now = as_it_is(_case(_pod("a", 8, "n1"), _pod("b", 4, "n1", 1), _pod("waits", 4)), PRICES)
    assert (now.nodes_in_use, now.gpus_in_use, now.usd_per_hour, now.pods, now.unplaced) == (1, 2, 4.0, 2, 1)
    assert (now.held_gpus, now.idle_gpus, now.fragmented_gpus, now.nodes) == (0.75, 0, 1.25, frozenset({"n1"}))
    assert (now.namespaces["ml"].pods, now.workloads["train"].usd_per_hour) == (2, 1.5)


def test_mig_devices_are_parts_of_one_gpu() -> None:
    """A GPU of five dollars in seven of them costs five; a pod that has half of one pays a fourteenth of that."""
    split = record("n1", [replace(mig(at, 10), uuid=uuid(at)) for at in range(7)])
    half = GpuPod("a", "ml", "train", shares(5), shares(5), "n1", on({0: 5}))
    case = Case("test", UNIT_MIB, (split,), (half,), placed=True)
    now, whole = as_it_is(case, _ByModel()), packed(case, "whole GPUs", "exclusive", _ByModel(), whole=True)
    assert (now.gpus_in_use, now.usd_per_hour, now.idle_gpus) == (1, 5.0, 0)
    assert (now.held_gpus, now.fragmented_gpus) == pytest.approx((1 / 14, 13 / 14))
    assert now.namespaces["ml"].usd_per_hour == pytest.approx(5 / 14)
    assert (whole.gpus_in_use, whole.usd_per_hour, whole.held_gpus, whole.unplaced) == (1, 5.0, 1.0, 0)


def test_where_nobody_knows_the_gpus_they_count_as_average_ones() -> None:
    """A pod bound by hand still pays its part."""
    unknown = replace(_pod("a", 8, "n1"), footprint=None)
    assert as_it_is(_case(unknown), PRICES).held_gpus == pytest.approx(0.5)


def test_of_nodes_alike_the_cheapest_is_used_first() -> None:
    """Whatever their order in the case, and with the price of the GPUs of the node in the bill."""
    dear, cheap = machine("a", 16, 16, model=A100), machine("b", 16, 16)
    for nodes in ((dear, cheap), (cheap, dear)):
        case = Case("test", UNIT_MIB, nodes, (_pod("a", 8),), placed=False)
        found = packed(case, "x", "binpack", _ByModel())
        assert (found.nodes, found.usd_per_hour, found.workloads["train"].usd_per_hour) == (frozenset("b"), 4.0, 1.0)


def test_gpus_without_the_cpu_that_goes_with_them_are_stranded() -> None:
    """What is free in GPUs, less what the free CPU would feed at the pods' own ratio; never less than nothing."""
    asks = replace(shares(8), cpu_milli=16_000)
    case = _case(replace(_pod("a", 8, "n1"), request=asks, asked=asks))

    def stranded(taken_milli: int) -> float:
        return as_it_is(replace(case, taken={"n1": (taken_milli, 0)}), PRICES).stranded_gpus

    # 32 cores go with a GPU, 1.5 GPUs are free, and so are 64 - 16 - taken cores.
    assert [stranded(taken) for taken in (0, 8_000, 16_000, 32_000, 48_000)] == [0.0, 0.25, 0.5, 1.0, 1.5]


def test_pods_that_ask_for_no_cpu_strand_nothing() -> None:
    """Any GPU can be used without any CPU."""
    assert as_it_is(_case(_pod("a", 8, "n1")), PRICES).stranded_gpus == 0.0


def test_gpus_of_less_than_a_unit_hold_nothing() -> None:
    """A node with no other GPUs is no error."""
    case = Case("test", UNIT_MIB, (machine("n1", 0),), (_pod("a", 8),), placed=True)
    assert [(one.pods, one.unplaced) for one in scenarios_of(case, PRICES, "binpack")] == [(0, 1)] * 4


def test_what_other_pods_take_of_the_cpu_is_not_given_out() -> None:
    """No CPU, no place."""
    asks = replace(shares(4), cpu_milli=1000)
    case = _case(replace(_pod("a", 4), request=asks))
    full = {node.name: (node.cpu_milli - 500, 0) for node in NODES}
    assert [packed(one, "x", "binpack", PRICES).pods for one in (case, replace(case, taken=full))] == [1, 0]


def test_whole_gpus_take_the_place_of_shares() -> None:
    """As many GPUs as the share is spread over, beside those held whole already."""
    spread = shares(8, count=2)
    assert [whole_of(request, {}).whole_gpus for request in (shares(3), spread, wholes(2))] == [1, 2, 2]


def test_shares_on_a_profile_get_the_gpu_of_it_whole() -> None:
    """Also where the pattern has no MIG in it; one that wants a GPU that is not split keeps to it."""
    split = replace(record("split", [mig(0), mig(1)]), cpu_milli=8000, memory_bytes=1 << 36)
    for models, pods in (("*1g.10gb", 1), ("*MIG-1g.10gb", 1), ("A100*", 1), ("T4", 0)):
        case = replace(_case(replace(_pod("a", 4), request=shares(4, models=models))), nodes=(split,))
        assert packed(case, "whole GPUs", "exclusive", PRICES, whole=True).pods == pods


def test_nodes_are_drained_only_when_no_more_pods_are_left_out() -> None:
    """Fewer nodes for fewer pods are no saving."""

    def scenario(nodes: int, unplaced: int) -> Scenario:
        return Scenario("x", nodes, 0, 0.0, 0, unplaced, 0.0, 0, 0.0, 0.0)

    before = scenario(5, 1)
    assert [drainable(before, scenario(nodes, left)) for nodes, left in ((3, 1), (3, 2), (6, 0))] == [2, 0, 0]


def test_a_policy_that_is_none_is_refused() -> None:
    """By the names that there are."""
    with pytest.raises(RequestError, match="policy 'best': expected one of binpack"):
        scenarios_of(_case(), PRICES, "best")


@given(st.lists(st.integers(1, 16), max_size=8), st.sampled_from(("binpack", "spread", "price-fit-robust")))
def test_the_bills_add_up_to_what_is_held(sizes: list[int], policy: str) -> None:
    """In every scenario; whole GPUs hold at least as much as shares and place no more pods."""
    case = _case(*(_pod(f"p{at}", units) for at, units in enumerate(sizes)))
    for one in scenarios_of(case, PRICES, policy):
        assert sum(bill.gpus for bill in one.namespaces.values()) == pytest.approx(one.held_gpus)
        assert sum(bill.pods for bill in one.workloads.values()) == one.pods == len(sizes) - one.unplaced
    whole, ours = packed(case, "w", "exclusive", PRICES, whole=True), packed(case, "o", policy, PRICES)
    assert whole.pods <= ours.pods


def test_nodes_are_compared_by_what_one_of_their_gpus_costs() -> None:
    """Four GPUs of two dollars are cheaper than one of five, although the node is dearer."""
    case = Case("test", UNIT_MIB, (machine("a", 16, model=A100), machine("b", 16, 16, 16, 16)), (_pod("p", 8),))
    assert packed(case, "x", "first-fit", _ByModel()).nodes == frozenset("b")


def test_an_idle_gpu_is_idle_and_not_fragmented() -> None:
    """Only what is free beside a pod is."""
    now = as_it_is(_case(_pod("a", 8, "n1")), PRICES)
    assert (now.idle_gpus, now.fragmented_gpus) == (1, 0.5)
