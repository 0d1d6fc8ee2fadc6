"""The promise of filter: a node that passed gets a plan, the same choice, and the plan can be carried out."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from extender.contract.units import UnitMib
from extender.scheduling.fitting.placing import footprint_of_choice
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.binding import Plan, holds_good, plan_binding
from extender.scheduling.nodes.node import Holder, NodeInfo
from extender.scheduling.pods.footprint import footprint
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from tests.extender.scheduling.builders import (
    A100,
    BINPACK,
    UNIT_MIB,
    gpu,
    gpus_of,
    holder,
    info,
    node,
    on,
    record,
    shares,
    snapshot,
    uuid,
    wholes,
)
from tests.extender.scheduling.naive_filter import filter_from_scratch
from tests.extender.scheduling.placements import carries_out, is_placement
from tests.extender.scheduling.strategies import POLICY, clusters, requests


def charged(place: NodeInfo, request: PodRequest, plan: Plan) -> NodeInfo:
    """The node with the pod on it."""
    return info(place.record, (*place.holders, Holder("new", "default", "new", request, plan.footprint)))


@settings(max_examples=100, deadline=None)
@given(clusters(), requests(largest=6), POLICY)
def test_promise(cluster: tuple[NodeInfo, ...], request: PodRequest, policy: Policy) -> None:
    """What passed filter is planned as filter chose; what was rejected is refused for the same reason."""
    names = [each.name for each in cluster]
    filtered = filter_from_scratch(snapshot(*cluster), names, request, policy)
    passed = {candidate.node: candidate.fit for candidate in filtered.feasible}
    for place in cluster:
        plan = plan_binding(place, request, policy, unit_mib=UNIT_MIB)
        if isinstance(plan, Misfit):
            assert filtered.rejected[place.name] is plan
            continue
        choice = passed[place.name]
        assert (plan.node, plan.cost) == (place.name, choice.cost)
        assert is_placement(place, request, choice.chosen)
        assert carries_out(plan.allocation, request)
        assert plan.footprint == footprint_of_choice(place, request, choice.chosen)
        assert plan.footprint == footprint(request, plan.allocation.containers)
        after = charged(place, request, plan)
        assert after.free == choice.after
        taken = {*plan.footprint.shares, *plan.footprint.whole}
        assert all(each.used + each.outside <= each.capacity for each in after.gpus if each.uuid in taken)
        assert holds_good(after, plan)


def test_an_unknown_node_gets_no_plan() -> None:
    """It went between filter and bind."""
    assert plan_binding(None, shares(1), BINPACK, unit_mib=UNIT_MIB) is Misfit.UNKNOWN_NODE


def test_a_plan_says_where() -> None:
    """In the contract's form; policy and time are the caller's."""
    plan = plan_binding(node(16, 16, holders=[holder("a", on({1: 8}))]), shares(8), BINPACK, unit_mib=UNIT_MIB)
    assert isinstance(plan, Plan)
    assert plan.allocation.containers == {"app-0": {uuid(1): 8}}
    assert (plan.allocation.policy, plan.allocation.at, plan.footprint) == ("", "", on({1: 8}))


def _planned(request: PodRequest) -> tuple[NodeInfo, Plan]:
    place = node(16, 16)
    plan = plan_binding(place, request, BINPACK, unit_mib=UNIT_MIB)
    assert isinstance(plan, Plan)
    return charged(place, request, plan), plan


@pytest.mark.parametrize("request_", [shares(8), shares(16, count=2), wholes(2), shares(16)])
def test_a_plan_holds_good_while_its_gpus_have_room(request_: PodRequest) -> None:
    """Its own charge is already there."""
    after, plan = _planned(request_)
    assert holds_good(after, plan)


def test_a_plan_does_not_hold_good_on_a_changed_node() -> None:
    """The node went, its inventory, its unit, the GPU or the GPU's health; or another pod took the room."""
    after, plan = _planned(shares(9))
    known = after.record.inventory
    assert known is not None
    holders = after.holders
    assert not holds_good(None, plan)
    assert not holds_good(info(replace(after.record, inventory=None), holders), plan)
    assert not holds_good(info(replace(after.record, inventory=replace(known, unit_mib=UnitMib(256))), holders), plan)
    assert not holds_good(info(record("node", [gpu(7), gpu(8)]), holders), plan)
    assert not holds_good(info(record("node", [gpu(0, healthy=False), gpu(1)]), holders), plan)
    assert not holds_good(info(record("node", gpus_of(8, 16)), holders), plan)
    assert not holds_good(info(record("node", [gpu(0, outside_mib=8 * 1024), gpu(1)]), holders), plan)
    assert not holds_good(info(after.record, (*holders, holder("other", on({0: 8})))), plan)
    assert holds_good(info(after.record, (*holders, holder("other", on({0: 7})))), plan)
    assert holds_good(info(record("node", [gpu(0), gpu(1, 80, A100, healthy=False)]), holders), plan)


@pytest.mark.parametrize("request_", [shares(16, count=2), wholes(2)])
def test_a_plan_over_several_gpus_holds_good_only_while_all_of_them_do(request_: PodRequest) -> None:
    """One that has become unhealthy is enough."""
    after, plan = _planned(request_)
    for gpus in ([gpu(0, healthy=False), gpu(1)], [gpu(0), gpu(1, healthy=False)], [gpu(0), gpu(7)]):
        assert not holds_good(info(record("node", gpus), after.holders), plan)


def test_a_plan_does_not_hold_good_where_its_compute_is_taken() -> None:
    """By a pod that was bound by hand; a pod that asks for none is not affected."""
    other = holder("other", on({0: 1}, cores={0: 41}))
    after, plan = _planned(shares(9, core=60))
    assert holds_good(after, plan)
    assert not holds_good(info(after.record, (*after.holders, other)), plan)
    without, plan = _planned(shares(9))
    crowded = holder("crowded", on({0: 1}, cores={0: 101}))
    assert holds_good(info(without.record, (*without.holders, crowded)), plan)
