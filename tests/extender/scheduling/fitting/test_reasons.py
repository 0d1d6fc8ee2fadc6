"""Every refusal has the most telling reason, as a constant sentence."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings

from extender.contract.inventory import InventoryGpu
from extender.contract.units import UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit, Shortage, general_misfit, misfit, shortage
from extender.scheduling.nodes.node import Holder, NodeInfo
from extender.scheduling.pods.request import PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from tests.extender.scheduling.builders import (
    A100,
    BINPACK,
    app,
    gpu,
    gpus_of,
    holder,
    info,
    init,
    mig,
    node,
    on,
    record,
    refused,
    shares,
    snapshot,
    wholes,
)
from tests.extender.scheduling.naive_filter import filter_from_scratch
from tests.extender.scheduling.strategies import POLICY, nodes, requests


def on_gpus(*gpus: InventoryGpu, holders: tuple[Holder, ...] = ()) -> NodeInfo:
    """A node of these GPUs."""
    return info(record("node", gpus), holders)


SICK = gpu(1, 16, healthy=False)


def _tiny() -> NodeInfo:
    tiny = replace(gpu(0), memory_mib=1023)
    return info(replace(record("node", [tiny]), memory_units=None))


CASES: dict[str, tuple[Misfit, Callable[[], NodeInfo], PodRequest]] = {
    "no inventory": (Misfit.NO_INVENTORY, lambda: info(replace(record("node", ()), inventory=None)), shares(1)),
    "another model": (Misfit.NO_MODEL, lambda: node(16), shares(1, models="A100*")),
    "no GPU at all": (Misfit.NO_PLUGIN, node, shares(1)),
    "too few for gpu-count": (Misfit.TOO_FEW_GPUS, lambda: node(16), shares(2, count=2)),
    "too few whole": (Misfit.TOO_FEW_GPUS, lambda: node(16, 16), wholes(3)),
    "too few whole in two containers": (Misfit.TOO_FEW_GPUS, lambda: node(16, 16), wholes(2, 1)),
    "too few whole beside a share": (
        Misfit.TOO_FEW_GPUS,
        lambda: node(16),
        pod_request((app(1, name="a"), app(gpus=1, name="b"))),
    ),
    "too few of the model": (
        Misfit.TOO_FEW_GPUS,
        lambda: on_gpus(gpu(0), gpu(1, 80, A100)),
        shares(2, count=2, models="A100*"),
    ),
    "two MIG devices for one container": (
        Misfit.MIG_NOT_COMBINED,
        lambda: on_gpus(mig(0), mig(1)),
        wholes(2, models="*MIG*"),
    ),
    "a MIG device beside a GPU, for gpu-count": (
        Misfit.MIG_NOT_COMBINED,
        lambda: on_gpus(gpu(0), mig(1)),
        shares(2, count=2),
    ),
    "MIG devices alone, not asked for": (Misfit.MIG_NOT_NAMED, lambda: on_gpus(mig(0), mig(1)), wholes(1)),
    "one GPU and a MIG device for two containers": (
        Misfit.MIG_NOT_NAMED,
        lambda: on_gpus(gpu(0), mig(1)),
        wholes(1, 1),
    ),
    "a busy GPU beside idle MIG devices": (
        Misfit.NOT_IDLE,
        lambda: on_gpus(gpu(0), mig(1), holders=(holder("a", on({0: 1})),)),
        wholes(1),
    ),
    "fewer MIG devices than GPUs asked for": (Misfit.TOO_FEW_GPUS, lambda: on_gpus(mig(0)), wholes(2)),
    "larger than every MIG device": (Misfit.TOO_LARGE, lambda: on_gpus(mig(0), mig(1)), shares(10)),
    "larger for gpu-count than the GPUs beside": (
        Misfit.TOO_LARGE,
        lambda: on_gpus(gpu(0, 4), gpu(1, 4), mig(2)),
        shares(10, count=2),
    ),
    "room on MIG devices for gpu-count": (
        Misfit.FULL,
        lambda: on_gpus(gpu(0), gpu(1), mig(2), holders=(holder("a", on({0: 16})), holder("b", on({1: 16})))),
        shares(10, count=2),
    ),
    "larger than every GPU": (Misfit.TOO_LARGE, lambda: node(16, 16), shares(17)),
    "larger than the accepted GPU": (
        Misfit.TOO_LARGE,
        lambda: on_gpus(gpu(0, 80), gpu(1, 40, A100)),
        shares(41, models="A100*"),
    ),
    "larger than one of two": (Misfit.TOO_LARGE, lambda: node(80, 16), shares(80, count=2)),
    "larger in all than the node": (Misfit.TOO_LARGE, lambda: node(16), shares(9, 8)),
    "each fits, together for ever they do not": (Misfit.TOO_LARGE, lambda: node(16, 16), shares(9, 9, 9)),
    "together only on fewer GPUs than whole ones leave": (
        Misfit.TOO_LARGE,
        lambda: node(16, 16, holders=[holder("a", on({0: 1}))]),
        pod_request((app(9, name="a"), app(9, name="b"), app(gpus=1, name="c"))),
    ),
    "together, were one not unhealthy": (
        Misfit.UNHEALTHY,
        lambda: on_gpus(gpu(0), gpu(1), gpu(2, healthy=False)),
        shares(9, 9, 9),
    ),
    "together, were a pod not there": (
        Misfit.FULL,
        lambda: node(16, 16, holders=[holder("a", on({0: 9}))]),
        shares(9, 9, 7),
    ),
    "more compute in all than there is": (Misfit.TOO_LARGE, lambda: node(16), shares(1, 1, core=60)),
    "more compute than a GPU has, with an init container": (
        Misfit.TOO_LARGE,
        lambda: node(16, 16),
        pod_request((init(8, name="first"), app(4, core=80, name="a"), app(4, core=80, name="b"))),
    ),
    "smaller than a unit": (Misfit.TOO_LARGE, _tiny, wholes(1)),
    "the large enough is unhealthy": (Misfit.UNHEALTHY, lambda: on_gpus(gpu(0, 8), SICK), shares(16)),
    "one of two is unhealthy": (Misfit.UNHEALTHY, lambda: on_gpus(gpu(0), SICK), wholes(2)),
    "half of the sum is unhealthy": (Misfit.UNHEALTHY, lambda: on_gpus(gpu(0), SICK), shares(12, 12)),
    "used outside": (Misfit.OUTSIDE, lambda: on_gpus(gpu(0, outside_mib=9 * 1024)), shares(8)),
    "not idle because of outside": (Misfit.OUTSIDE, lambda: on_gpus(gpu(0, outside_mib=1)), wholes(1)),
    "outside on one, a pod on the other": (
        Misfit.OUTSIDE,
        lambda: on_gpus(gpu(0, outside_mib=1), gpu(1), holders=(holder("a", on({1: 1})),)),
        wholes(1),
    ),
    "not idle": (Misfit.NOT_IDLE, lambda: node(16, holders=[holder("a", on({0: 1}))]), wholes(1)),
    "not idle, outside apart": (
        Misfit.NOT_IDLE,
        lambda: on_gpus(gpu(0, outside_mib=1), holders=(holder("a", on({0: 1})),)),
        wholes(1),
    ),
    "split over two": (
        Misfit.FRAGMENTED,
        lambda: node(16, 16, holders=[holder("a", on({0: 9})), holder("b", on({1: 8}))]),
        shares(9),
    ),
    "split for gpu-count": (
        Misfit.FRAGMENTED,
        lambda: node(16, 16, holders=[holder("a", on({0: 12}))]),
        shares(10, count=2),
    ),
    "split over MIG devices, each too small": (
        Misfit.FULL,
        lambda: on_gpus(gpu(0, 80), *(mig(at) for at in range(1, 8)), holders=(holder("a", on({0: 80})),)),
        shares(20),
    ),
    "split over MIG devices and a GPU": (
        Misfit.FULL,
        lambda: on_gpus(gpu(0), mig(1), mig(2), holders=(holder("a", on({0: 8})),)),
        shares(10),
    ),
    "split over two beside MIG devices": (
        Misfit.FRAGMENTED,
        lambda: on_gpus(gpu(0), gpu(1), mig(2), holders=(holder("a", on({0: 8})), holder("b", on({1: 8})))),
        shares(10),
    ),
    "split over two, once a MIG device has the second share": (
        Misfit.FRAGMENTED,
        lambda: on_gpus(gpu(0), gpu(1), mig(2), holders=(holder("a", on({0: 8})), holder("b", on({1: 8})))),
        shares(9, 10),
    ),
    "compute taken": (
        Misfit.NO_CORE,
        lambda: node(16, holders=[holder("a", on({0: 1}, cores={0: 60}))]),
        shares(8, core=50),
    ),
    "compute left beside no memory": (
        Misfit.NO_CORE,
        lambda: node(16, 16, holders=[holder("a", on({0: 1}, cores={0: 60})), holder("b", on({1: 16}))]),
        shares(8, core=50),
    ),
    "neither memory nor compute": (
        Misfit.FULL,
        lambda: node(16, holders=[holder("a", on({0: 10}, cores={0: 60}))]),
        shares(8, core=50),
    ),
    "the only unit of a GPU is taken": (
        Misfit.NOT_IDLE,
        lambda: on_gpus(gpu(0, 1), holders=(holder("a", on({0: 1})),)),
        wholes(1, models="T4"),
    ),
    "full": (Misfit.FULL, lambda: node(16, holders=[holder("a", on({0: 9}))]), shares(8)),
    "full, the sum too": (
        Misfit.FULL,
        lambda: node(16, 16, holders=[holder("a", on({0: 12})), holder("b", on({1: 12}))]),
        shares(9),
    ),
    "all healthy, a share and whole GPUs": (
        Misfit.NOT_IDLE,
        lambda: node(40, 16, 16, 16, holders=[holder("a", on({1: 1}))]),
        pod_request((app(20, name="a"), app(gpus=3, name="b"))),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_most_telling_reason(case: str) -> None:
    """By example."""
    expected, place, request = CASES[case]
    assert refused(place(), request) is expected


def test_every_reason_is_reached() -> None:
    """By one of the examples, or by the three that need another unit, no plugin or no node."""
    known = record("node", gpus_of(16))
    assert known.inventory is not None
    other = replace(known, inventory=replace(known.inventory, unit_mib=UnitMib(256)))
    unknown = filter_from_scratch(snapshot(), ["node"], shares(1), BINPACK).rejected["node"]
    reached = {expected for expected, _, _ in CASES.values()} | {refused(info(other), shares(1)), unknown}
    # A node does not know for whom its pods are evicted: tests/extender/server/state/test_claiming.py.
    assert reached | {Misfit.EVICTING} == set(Misfit)


@pytest.mark.parametrize("reason", Misfit)
def test_reasons_are_constant_sentences_without_numbers(reason: Misfit) -> None:
    """A text that changes from try to try requeues the pod at once, for ever."""
    assert not any(character.isdigit() for character in reason.text)
    assert "%" not in reason.text
    assert "{" not in reason.text


def test_reasons_are_told_apart() -> None:
    """kube-scheduler counts equal texts."""
    assert len({reason.text for reason in Misfit}) == len(Misfit)


@settings(max_examples=120, deadline=None)
@given(nodes(), requests(), POLICY)
def test_fragmented_only_when_the_sum_would_do(place: NodeInfo, request: PodRequest, policy: Policy) -> None:
    """And only then is it told that memory is free; that of a MIG device is for shares that fit there alone."""
    usable = [each for each in place.gpus if request.models.match(each.model)]
    combined = sum(each.free for each in usable if each.mig is None)
    alone = [each.free for each in usable if each.mig is not None and request.gpu_count == 1]
    small = min((demand.units for demand in request.demands), default=0)
    if fit(place, request, policy) is Misfit.FRAGMENTED:
        assert combined + sum(free for free in alone if free >= small) >= request.memory_units > 0
    if fit(place, request, policy) is Misfit.FULL:
        assert combined < request.memory_units


@settings(max_examples=120, deadline=None)
@given(nodes(), requests(), POLICY)
def test_a_reason_that_no_eviction_cures_holds_on_the_empty_node(
    place: NodeInfo, request: PodRequest, policy: Policy
) -> None:
    """Such a node goes to FailedAndUnresolvableNodes, so it must not be one that evictions would free."""
    for_ever = {reason for reason in Misfit if not reason.passing}
    answer = fit(place, request, policy)
    if answer in for_ever:
        assert fit(info(place.record), request, policy) is answer


@settings(max_examples=200, deadline=None)
@given(nodes(), requests(core=True), POLICY)
def test_a_reason_that_passes_is_only_told_where_the_pod_could_ever_fit(
    place: NodeInfo, request: PodRequest, policy: Policy
) -> None:
    """Else the pod would be woken again and again, whenever any other ends."""
    inventory = place.record.inventory
    assert inventory is not None
    alone = replace(inventory, gpus=tuple(replace(each, outside_mib=0) for each in inventory.gpus))
    answer = fit(place, request, policy)
    if isinstance(answer, Misfit) and answer.passing:
        assert isinstance(fit(info(replace(place.record, inventory=alone)), request, policy), Fit)


@settings(max_examples=200, deadline=None)
@given(node=nodes(), request=requests(most=1, largest=20))
def test_the_short_way_to_a_reason_ends_where_the_long_one_does(node: NodeInfo, request: PodRequest) -> None:
    """For every node on which one demand does not fit."""
    if request.demands and not isinstance(fit(node, request, BINPACK), Fit):
        assert misfit(node, request) == general_misfit(node, request)


def test_the_reasons_that_other_pods_can_end() -> None:
    """All that memory, compute and idle GPUs are short of; everything else is how the node is."""
    passing = {Misfit.OUTSIDE, Misfit.NOT_IDLE, Misfit.FRAGMENTED, Misfit.NO_CORE, Misfit.FULL, Misfit.EVICTING}
    assert {reason for reason in Misfit if reason.passing} == passing


def test_the_numbers_behind_a_reason() -> None:
    """Counted over the GPUs of an accepted model, the largest of each kind."""
    big, small, other = gpu(0, 80, A100), gpu(1, 40, A100), gpu(2, 16)
    place = on_gpus(big, small, other, holders=(holder("a", on({0: 50}, cores={0: 70})), holder("b", on({2: 1}))))
    request = pod_request((app(45, core=40), app(4, core=60, name="second")), models=shares(1, models="A100*").models)
    assert shortage(place, request) == Shortage(
        wanted_units=45,
        wanted_gpus=1,
        wanted_whole_gpus=0,
        wanted_core_percent=60,
        gpus=2,
        slices=0,
        idle_gpus=1,
        capacity_units=80,
        free_units=30 + 40,
        largest_free_units=40,
        largest_free_core_percent=100,
    )


def test_the_numbers_behind_a_reason_leave_out_mig_devices_of_no_use() -> None:
    """They are counted apart."""
    found = shortage(on_gpus(gpu(0), mig(1), mig(2)), wholes(2))
    assert (found.gpus, found.slices, found.idle_gpus, found.free_units) == (1, 2, 1, 16)


def test_the_numbers_behind_a_reason_for_whole_gpus() -> None:
    """The demand of most GPUs, and all whole GPUs together; nothing is there on a node without GPUs."""
    assert shortage(node(), wholes(2, 3)) == Shortage(0, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0)
