"""Whether a pod fits on a node: what blocks it, what never changes the answer, what may only improve it."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.contract.units import UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.node import NodeInfo, NodeRecord
from extender.scheduling.pods.models import parse_models
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from tests.extender.scheduling.builders import (
    A100,
    UNIT_MIB,
    fitted,
    gpu,
    gpus_of,
    holder,
    info,
    node,
    on,
    record,
    refused,
    shares,
    uuid,
    wholes,
)
from tests.extender.scheduling.strategies import POLICY, nodes, requests

SOME = settings(max_examples=80, deadline=None)


@SOME
@given(nodes(), requests(), POLICY)
def test_after_says_what_is_left(place: NodeInfo, request: PodRequest, policy: Policy) -> None:
    """The policy judges a node by it."""
    answer = fit(place, request, policy)
    if isinstance(answer, Fit):
        left = list(place.free)
        for demand, positions in zip(request.demands, answer.chosen, strict=True):
            for at in positions:
                left[at] -= demand.units or left[at]
        assert answer.after == tuple(left)
        assert answer.cost == policy.node_cost(place, request, answer.after)


@SOME
@given(nodes(), requests(), POLICY, st.data())
def test_monotony_in_memory(place: NodeInfo, request: PodRequest, policy: Policy, data: st.DataObject) -> None:
    """A pod less, a larger GPU, a healed one or one GPU more never turns a Fit into a Misfit."""
    if not isinstance(fit(place, request, policy), Fit):
        return
    if place.holders:
        gone = data.draw(st.sampled_from(place.holders))
        fitted(info(place.record, [each for each in place.holders if each is not gone]), request, policy)
    assert place.record.inventory is not None
    known = place.record.inventory.gpus
    fitted(info(record("node", (*known, gpu(len(known), 1))), place.holders), request, policy)
    if known:
        at = data.draw(st.integers(0, len(known) - 1))
        for better in (
            replace(known[at], memory_mib=known[at].memory_mib + UNIT_MIB),
            replace(known[at], outside_mib=0),
            replace(known[at], healthy=True),
        ):
            fitted(info(record("node", (*known[:at], better, *known[at + 1 :])), place.holders), request, policy)


@SOME
@given(nodes(), requests(), POLICY, st.data())
def test_monotony_in_the_request(place: NodeInfo, request: PodRequest, policy: Policy, data: st.DataObject) -> None:
    """A container less, a smaller one, or any model where one was asked for never turns a Fit into a Misfit."""
    if not isinstance(fit(place, request, policy), Fit):
        return
    at = data.draw(st.integers(0, len(request.containers) - 1))
    asked = request.containers
    # Any model, MIG devices among them.
    fitted(place, replace(request, models=parse_models("*,*MIG*")), policy)
    fewer = asked[at]
    if request.gpu_count == 1:
        smaller = (
            ContainerRequest(fewer.name, fewer.kind, fewer.memory_units - 1, 0)
            if fewer.memory_units
            else ContainerRequest(fewer.name, fewer.kind, 0, fewer.gpus - 1)
        )
        for less in ((*asked[:at], *asked[at + 1 :]), (*asked[:at], smaller, *asked[at + 1 :])):
            fitted(place, pod_request(less, models=request.models), policy)


@SOME
@given(nodes(), requests(), POLICY, st.randoms(use_true_random=False))
def test_determinism(place: NodeInfo, request: PodRequest, policy: Policy, random: Random) -> None:
    """The same pods in another order, the same answer."""
    again = info(place.record, random.sample(place.holders, len(place.holders)))
    assert fit(again, request, policy) == fit(place, request, policy)


@pytest.mark.parametrize("units", [None, 0])
def test_lesson_10_no_allocatable_does_not_fit(units: int | None) -> None:
    """Capacity 0, or a kubelet to which no plugin has registered, offers nothing whatever the inventory says."""
    known = record("node", gpus_of(16))
    assert refused(info(replace(known, memory_units=units)), shares(1)) is Misfit.NO_PLUGIN
    assert refused(info(replace(known, whole_gpus=units)), wholes(1)) is Misfit.NO_PLUGIN


@pytest.mark.parametrize("units", [None, 0])
def test_a_node_whose_gpus_are_all_unhealthy_rightly_offers_nothing(units: int | None) -> None:
    """Its device plugin serves; one healthy GPU and no offer is a plugin that does not."""
    ill = replace(record("node", [gpu(0, healthy=False)]), memory_units=units, whole_gpus=units, core_percent=units)
    for request in (shares(1), shares(1, core=1), wholes(1)):
        assert refused(info(ill), request) is Misfit.UNHEALTHY
    mixed = replace(record("node", [gpu(0), gpu(1, healthy=False)]), memory_units=units)
    assert refused(info(mixed), shares(1)) is Misfit.NO_PLUGIN


def test_lesson_10_no_allocatable_compute_matters_to_who_asks_for_it() -> None:
    """A device plugin from before the resource serves all other pods."""
    known = replace(record("node", gpus_of(16)), core_percent=None)
    assert refused(info(known), shares(1, core=1)) is Misfit.NO_PLUGIN
    assert fitted(info(known), shares(1)).chosen == ((0,),)


def test_the_compute_of_a_gpu_is_given_out_once() -> None:
    """Memory alone would put all on the first GPU; who asks for no compute takes none."""
    place = node(16, 16)
    for at, (percent, gpu_index) in enumerate([(60, 0), (40, 0), (60, 1), (0, 0), (40, 1)]):
        answer = fitted(place, shares(1, core=percent))
        assert answer.chosen == ((gpu_index,),)
        cores = {gpu_index: percent} if percent else None
        place = info(place.record, (*place.holders, holder(f"p{at}", on({gpu_index: 1}, cores=cores))))
    assert refused(place, shares(1, core=1)) is Misfit.NO_CORE
    assert fitted(place, shares(1)).chosen == ((0,),)


def test_a_gpu_held_whole_has_no_compute_left() -> None:
    """Nor does a pod with compute leave its GPU idle."""
    place = node(16, 16, holders=[holder("whole", on(whole=[0]))])
    assert fitted(place, shares(1, core=100)).chosen == ((1,),)
    assert place.gpus[0].core_free_percent == 0


def test_compute_of_several_containers_may_need_several_gpus() -> None:
    """Two times 60 percent do not fit on one GPU, where the memory would."""
    assert sorted(fitted(node(16, 16), shares(1, 1, core=60)).chosen) == [(0,), (1,)]
    busy = node(16, 16, holders=[holder("a", on({0: 1}, cores={0: 50}))])
    assert refused(busy, shares(1, 1, core=60)) is Misfit.NO_CORE
    assert refused(node(16), shares(1, 1, core=60)) is Misfit.TOO_LARGE


def test_lesson_10_the_other_resource_does_not_matter() -> None:
    """A node may offer only one of the two."""
    known = record("node", gpus_of(16))
    assert fitted(info(replace(known, whole_gpus=None)), shares(16)).chosen == ((0,),)
    assert fitted(info(replace(known, memory_units=None)), wholes(1)).chosen == ((0,),)


def test_a_node_without_inventory_or_of_another_unit_does_not_fit() -> None:
    """Nothing is guessed."""
    known = record("node", gpus_of(16))
    assert known.inventory is not None
    assert refused(info(replace(known, inventory=None)), shares(1)) is Misfit.NO_INVENTORY
    other = replace(known.inventory, unit_mib=UnitMib(512))
    assert refused(info(replace(known, inventory=other)), shares(1)) is Misfit.UNIT_MISMATCH


def test_lesson_12_gpus_of_different_sizes() -> None:
    """Only the large one has room for 40, and only once."""
    place = node(16, 80, 24)
    assert fitted(place, shares(40)).chosen == ((1,),)
    assert fitted(place, shares(40, 40)).chosen == ((1,), (1,))
    assert refused(place, shares(40, 41)) is Misfit.TOO_LARGE


def test_lesson_17_n_pods_pass_for_n_places_only() -> None:
    """Each pod that passed is charged before the next is asked about."""
    place = node(16, 16)
    for at in range(4):
        answer = fitted(place, shares(8))
        place = info(place.record, (*place.holders, holder(f"p{at}", on({answer.chosen[0][0]: 8}))))
    assert refused(place, shares(8)) is Misfit.FULL
    assert place.free == (0, 0)


def test_lesson_18_an_unhealthy_gpu_is_not_offered_and_comes_back() -> None:
    """Marking is not one-way."""
    well = record("node", gpus_of(16))
    sick: NodeRecord = record("node", [gpu(0, healthy=False)])
    assert fitted(info(well), shares(16)).chosen == ((0,),)
    assert refused(info(sick), shares(1)) is Misfit.UNHEALTHY
    assert refused(info(sick), wholes(1)) is Misfit.UNHEALTHY
    assert fitted(info(well), wholes(1)).chosen == ((0,),)


def test_whole_gpus_and_shares_exclude_each_other() -> None:
    """Per GPU, in both directions."""
    place = node(16, 16, holders=[holder("share", on({0: 1})), holder("whole", on(whole=[1]))])
    assert fitted(place, shares(15)).chosen == ((0,),)
    assert refused(place, wholes(1)) is Misfit.NOT_IDLE
    assert refused(place, shares(16)) is Misfit.FULL


def test_a_pod_gets_gpus_of_the_model_that_it_accepts() -> None:
    """Even where the policy would like another better."""
    place = info(record("node", [gpu(0, 16), gpu(1, 80, A100)]), [holder("a", on({0: 4}))])
    assert fitted(place, shares(4, models="A100*")).chosen == ((1,),)
    assert fitted(place, shares(4, models="!A100*")).chosen == ((0,),)
    assert place.gpus[1].uuid == uuid(1)
