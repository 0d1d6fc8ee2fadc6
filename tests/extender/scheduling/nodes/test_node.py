"""Free units per GPU are exact: conserved, never negative, and worst-case where a pod's place is unknown."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.contract.units import UnitMib
from extender.scheduling.nodes.node import Holder, NodeInfo, NodeRecord, node_info
from extender.scheduling.pods.request import PodRequest
from tests.extender.scheduling.builders import (
    A100,
    BINPACK,
    T4,
    UNIT_MIB,
    fitted,
    gpu,
    gpus_of,
    holder,
    info,
    mig,
    node,
    on,
    record,
    shares,
    used,
    wholes,
)
from tests.extender.scheduling.strategies import nodes, records, requests

MANY = settings(max_examples=80, deadline=None)


@st.composite
def overfull(draw: st.DrawFn) -> tuple[NodeRecord, tuple[Holder, ...]]:
    """A node and pods on it that nobody checked: too many, whole and shared on one GPU, of unknown place."""
    known = draw(records())
    size = len(known.inventory.gpus) if known.inventory is not None else 0
    indices = st.integers(0, max(0, size - 1))
    pods: list[Holder] = []
    for at in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["shares", "whole", "unknown"]))
        if kind == "shares" and size:
            units = draw(st.dictionaries(indices, st.integers(1, 9), min_size=1))
            percent = draw(st.sampled_from([0, 40, 70]))
            pods.append(holder(f"p{at}", on(units, cores=dict.fromkeys(units, percent) if percent else None)))
        elif kind == "whole" and size:
            pods.append(holder(f"p{at}", on(whole=draw(st.sets(indices, min_size=1)))))
        else:
            pods.append(holder(f"p{at}", None, draw(requests(core=True))))
    return known, tuple(pods)


def charged(place: NodeInfo) -> int:
    """Units in use by the account of the node."""
    return sum(each.used for each in place.gpus)


@MANY
@given(overfull())
def test_conservation(cluster: tuple[NodeRecord, tuple[Holder, ...]]) -> None:
    """Used is the sum of what footprints charge; free what is left of the capacity, and never negative."""
    known, pods = cluster
    placed = info(known, [pod for pod in pods if pod.footprint is not None])
    for each in placed.gpus:
        by_pod = [
            each.capacity if each.uuid in pod.footprint.whole else pod.footprint.shares.get(each.uuid, 0)
            for pod in placed.holders
            if pod.footprint is not None
        ]
        assert each.used == sum(by_pod)
        left = each.capacity - each.used - each.outside
        assert each.free == (max(0, left) if each.healthy else 0)
        assert each.overcommitted == max(0, each.used - each.capacity)
        compute = sum(pod.footprint.cores.get(each.uuid, 0) for pod in placed.holders if pod.footprint is not None)
        assert each.core_used_percent == compute
        assert each.core_free_percent == (max(0, 100 - compute) if each.healthy and not each.whole else 0)
    assert placed.free == tuple(each.free for each in placed.gpus)
    assert placed.idle == tuple(each.idle for each in placed.gpus)


@MANY
@given(overfull())
def test_pods_of_unknown_place_are_charged_in_full(cluster: tuple[NodeRecord, tuple[Holder, ...]]) -> None:
    """Every demand is charged on as many different GPUs as it asks for, as far as there are any; compute alike."""
    known, pods = cluster
    placed = [pod for pod in pods if pod.footprint is not None]
    unknown = [pod for pod in pods if pod.footprint is None]
    units = compute = 0
    for pod in unknown:
        assert pod.request is not None
        for demand in pod.request.demands:
            if demand.whole:
                return  # what a whole GPU costs depends on which one it is
            size = len(known.inventory.gpus) if known.inventory is not None else 0
            units += demand.units * min(demand.gpus, size)
            compute += demand.core_percent * min(demand.gpus, size)
    everyone, before = info(known, pods), info(known, placed)
    assert (
        sum(
            each.core_used_percent - was.core_used_percent for each, was in zip(everyone.gpus, before.gpus, strict=True)
        )
        == compute
    )
    assert charged(info(known, pods)) == charged(info(known, placed)) + units


@MANY
@given(overfull(), st.randoms(use_true_random=False))
def test_the_order_of_holders_does_not_matter(cluster: tuple[NodeRecord, tuple[Holder, ...]], random: Random) -> None:
    """The account depends on the set of pods alone."""
    known, pods = cluster
    assert info(known, pods) == info(known, random.sample(pods, len(pods)))


@MANY
@given(nodes(), st.data())
def test_one_pod_more_never_frees_anything(place: NodeInfo, data: st.DataObject) -> None:
    """Neither by footprint nor by the worst case."""
    if not place.gpus:
        return
    index = data.draw(st.integers(0, len(place.gpus) - 1))
    what = data.draw(st.sampled_from([on({index: 3}), on(whole=[index]), None]))
    after = info(place.record, (*place.holders, holder("new", what, shares(3) if what is None else None)))
    assert all(now <= before for before, now in zip(place.free, after.free, strict=True))


def test_lesson_4_a_gpu_with_more_used_than_it_has_is_full() -> None:
    """No underflow: zero units are free, and the excess is told apart."""
    place = node(16, holders=[holder("a", on({0: 12})), holder("b", on({0: 12}))])
    only = place.gpus[0]
    assert (only.used, only.free, only.overcommitted, only.idle) == (24, 0, 8, False)


def test_lesson_4_a_gpu_that_shrank_below_its_use_is_full() -> None:
    """The other way to get there."""
    shrunk = node(8, holders=[holder("a", on({0: 12}))]).gpus[0]
    assert (shrunk.free, shrunk.overcommitted) == (0, 4)


def test_lesson_12_every_gpu_has_its_own_size() -> None:
    """Not the size of GPU 0."""
    place = info(record("node", [gpu(0, 16, T4), gpu(1, 80, A100), gpu(2, 24)]))
    assert ([each.capacity for each in place.gpus], place.free, place.capacity) == ([16, 80, 24], (16, 80, 24), 120)


def test_a_gpu_is_never_rounded_up() -> None:
    """15 GiB and 1,023 MiB are 15 units."""
    place = info(record("node", [replace(gpu(0), memory_mib=16 * 1024 - 1)]))
    assert place.free == (15,)


def test_memory_in_use_outside_is_rounded_up_and_keeps_a_gpu_from_being_whole() -> None:
    """One MiB in use makes its whole unit useless."""
    only = info(record("node", [gpu(0, 16, outside_mib=1)])).gpus[0]
    assert (only.outside, only.free, only.idle) == (1, 15, False)


def test_more_outside_use_than_memory_leaves_nothing() -> None:
    """No underflow here either."""
    assert info(record("node", [gpu(0, 16, outside_mib=99 * 1024)])).free == (0,)


def test_lesson_18_an_unhealthy_gpu_offers_nothing() -> None:
    """Its capacity stays known, its room is not offered."""
    sick = info(record("node", [gpu(0, 16, healthy=False), gpu(1, 16)]))
    assert (sick.free, sick.idle, sick.capacity) == ((0, 16), (False, True), 16)


def test_a_whole_gpu_is_taken_whatever_its_size() -> None:
    """Grown since: still nothing is free."""
    place = node(24, holders=[holder("a", on(whole=[0]))])
    assert (place.free, place.idle, place.gpus[0].whole) == ((0,), (False,), True)


def test_a_pod_of_unknown_place_is_charged_to_the_largest_hole() -> None:
    """After all others, so to GPU 1 here."""
    place = node(16, 16, holders=[holder("a", None, shares(6)), holder("b", on({0: 4}))])
    assert used(place) == {"GPU-0": 4, "GPU-1": 6}


def test_a_pod_of_unknown_place_is_not_charged_where_it_hurts_nobody() -> None:
    """Neither an unhealthy GPU nor one that is full of other memory is the worst case."""
    place = info(
        record("node", [gpu(0, 80, healthy=False), gpu(1, 60, outside_mib=59 * 1024), gpu(2, 16)]),
        [holder("a", None, shares(6))],
    )
    assert used(place) == {"GPU-0": 0, "GPU-1": 0, "GPU-2": 6}


def test_a_pod_of_unknown_place_with_several_gpus_takes_different_ones() -> None:
    """gpu-count 2 and two whole GPUs."""
    place = node(16, 16, 16, 16, holders=[holder("a", None, shares(8, count=2)), holder("b", None, wholes(2))])
    assert sorted(used(place).values()) == [4, 4, 16, 16]


@pytest.mark.parametrize("request_", [wholes(1), wholes(1, models="A100*"), shares(8, count=2), wholes(2)])
def test_a_pod_of_unknown_place_is_not_charged_to_a_mig_device_that_it_cannot_have(request_: PodRequest) -> None:
    """However much larger that is: the GPUs that it must be on would look idle, and be given away again."""
    place = info(record("node", [gpu(0, 15), mig(1, 39, slices=3), gpu(2, 15)]), [holder("a", None, request_)])
    gpus = request_.demands[0].gpus
    assert [each.used > 0 for each in place.gpus] == [True, False, gpus == 2]
    assert info(place.record, [holder("a", None, request_), holder("b", None, request_)]).idle == (False, True, False)


@pytest.mark.parametrize("request_", [shares(8), wholes(1, models="*MIG*"), wholes(1, models="T4,*MIG-3g*")])
def test_a_pod_of_unknown_place_is_charged_to_the_largest_mig_device_that_it_may_have(request_: PodRequest) -> None:
    """Whatever profile it names: the kubelet does not know of them."""
    place = info(record("node", [gpu(0, 15), mig(1, 9), mig(2, 39, slices=4)]), [holder("a", None, request_)])
    assert [each.used > 0 for each in place.gpus] == [False, False, True]


def test_a_pod_of_unknown_place_that_takes_mig_devices_whole_is_on_one_while_there_is_one() -> None:
    """Device plugins give it the GPU only when no MIG device is idle."""
    known, pods = (
        record("node", [gpu(0, 80), mig(1, 9)]),
        [holder(name, None, wholes(1, models="*MIG*")) for name in "ab"],
    )
    assert info(known, pods[:1]).idle == (True, False)
    assert info(known, pods).idle == (False, False)
    assert info(known, [holder("share", on({1: 1})), *pods[:1]]).idle == (False, False)


def test_a_pod_of_unknown_place_is_charged_to_a_mig_device_where_nothing_else_is() -> None:
    """For want of better: it holds something here."""
    place = info(record("node", [mig(0), gpu(1, 4)]), [holder("a", None, wholes(2))])
    assert place.idle == (False, False)
    assert info(record("node", [mig(0)]), [holder("a", None, wholes(1))]).idle == (False,)


def test_lesson_13_a_pod_that_names_a_gpu_of_another_node_hides_nothing() -> None:
    """It asks for 6 and says that they are on a GPU that is not here."""
    place = node(16, holders=[holder("a", on({7: 6}))])
    assert (used(place), place.holders[0].footprint) == ({"GPU-0": 6}, None)
    assert node(16, holders=[holder("a", on(whole=[7]))]).idle == (False,)


def test_a_pod_without_a_request_is_charged_for_cpu_only() -> None:
    """Stranded GPUs are often stranded by CPU."""
    known = replace(record("node", gpus_of(16)), cpu_milli=4000, memory_bytes=100)
    other = Holder("a", "default", "a", None, None, cpu_milli=3000, memory_bytes=101)
    place = info(known, [other])
    assert (place.free, place.cpu_free_milli, place.memory_free_bytes) == ((16,), 1000, 0)


def test_a_node_without_inventory_has_no_gpus() -> None:
    """It still knows its pods and its CPU."""
    place = info(replace(record("node", ()), inventory=None, cpu_milli=4000), [holder("a", on({0: 4}))])
    assert (place.gpus, place.free, len(place.holders), place.cpu_free_milli) == ((), (), 1, 4000)


def test_a_node_of_another_unit_is_marked() -> None:
    """Its plugin counts in units of 256 MiB."""
    known = record("node", gpus_of(16))
    assert known.inventory is not None
    other = replace(known, inventory=replace(known.inventory, unit_mib=UnitMib(256)))
    assert (info(known).unit_matches, info(other).unit_matches) == (True, False)


def test_the_fastest_form_says_the_same() -> None:
    """A Fit on the node reads `free` and `idle`, people read `gpus`."""
    place = node_info(record("node", gpus_of(16, 8)), [holder("a", on({0: 4}))], unit_mib=UNIT_MIB, generation=3)
    assert (place.free, place.idle, place.generation) == ((12, 8), (False, True), 3)
    assert fitted(place, shares(12), BINPACK).chosen == ((0,),)


@MANY
@given(overfull(), overfull())
def test_what_was_computed_before_changes_nothing(
    first: tuple[NodeRecord, tuple[Holder, ...]], second: tuple[NodeRecord, tuple[Holder, ...]]
) -> None:
    """Neither from other holders of the same GPUs nor from another node."""
    known, pods = first
    other, others = second
    for before in (info(known), info(known, others), info(other, others)):
        assert node_info(known, pods, unit_mib=UNIT_MIB, before=before) == info(known, pods)
