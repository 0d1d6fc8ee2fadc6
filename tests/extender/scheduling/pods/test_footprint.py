"""What a pod holds comes from its spec and from where the kubelet put it, never from a tenant's word."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.contract.allocation import Allocation
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid, UnitMib, Units
from extender.scheduling.pods.footprint import Footprint, Placed, footprint, footprint_of
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from tests.extender.scheduling.builders import UNIT_MIB, app, init, on, shares, sidecar, uuid, wholes
from tests.extender.scheduling.kubelet_devices import Device, EvenOnOwnGpus, admitted, memory, per_gpu, whole
from tests.extender.scheduling.strategies import containers

FEW = settings(max_examples=80, deadline=None)


def placed(**containers: dict[int, int]) -> Placed:
    """Container name to units per GPU index."""
    return {name: {uuid(at): Units(units) for at, units in gpus.items()} for name, gpus in containers.items()}


def says(where: dict[str, dict[int, int]], unit_mib: UnitMib = UNIT_MIB) -> Allocation:
    """An annotation."""
    return Allocation(unit_mib, placed(**where))


def test_one_container_holds_what_it_has() -> None:
    """The common case."""
    assert footprint(shares(8), placed(**{"app-0": {3: 8}})) == on({3: 8})


def test_containers_on_one_gpu_add_up() -> None:
    """Usage is per pod and GPU."""
    assert footprint(shares(8, 4), placed(**{"app-0": {0: 8}, "app-1": {0: 4}})) == on({0: 12})


def test_lesson_2_devices_of_init_containers_count_once() -> None:
    """The kubelet hands them on to the containers after them."""
    request = pod_request((init(8), sidecar(3), app(10)))
    assert footprint(request, placed(init={0: 8}, sidecar={0: 3}, main={0: 10})) == on({0: 13})


def test_whole_gpus_are_counted_once_and_by_the_spec() -> None:
    """The amount in the annotation of a whole GPU says nothing."""
    request = pod_request((init(gpus=1), app(gpus=2)))
    assert footprint(request, placed(init={0: 16}, main={0: 1, 1: 1})) == on(whole=[0, 1])


def test_compute_is_where_the_memory_is() -> None:
    """The same percentage of each GPU, by the spec."""
    request = shares(8, core=60)
    assert footprint(request, placed(**{"app-0": {3: 8}})) == on({3: 8}, cores={3: 60})
    assert footprint(request, placed(**{"app-0": {3: 4, 1: 4}})) == on({3: 4, 1: 4}, cores={3: 30, 1: 30})


def test_a_gpu_cannot_be_shared_and_whole() -> None:
    """No kubelet does that, so it is not believed."""
    request = pod_request((app(8, name="a"), app(gpus=1, name="b")))
    assert footprint(request, placed(a={0: 8}, b={0: 16})) is None


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"app-0": {}},
        {"other": {0: 8}},
        {"app-0": {0: 7}},
        {"app-0": {0: 1}},
        {"app-0": {0: 9}},
        {"app-0": {0: 4, 1: 5}},
    ],
)
def test_lesson_13_annotations_that_contradict_the_spec_are_not_believed(where: dict[str, dict[int, int]]) -> None:
    """A pod that asks for 8 and writes that it has fewer, or that it has them elsewhere, hides nothing."""
    assert footprint(shares(8), placed(**where)) is None


def test_lesson_13_a_changed_gpu_count_on_a_running_pod_moves_no_charge() -> None:
    """Over how many GPUs the memory is spread is the kubelet's account to tell, not the annotation's of today."""
    assert footprint(shares(8), placed(**{"app-0": {0: 4, 1: 4}})) == on({0: 4, 1: 4})


@pytest.mark.parametrize("where", [{0: 16}, {0: 16, 1: 16, 2: 16}])
def test_lesson_13_as_many_whole_gpus_as_the_spec_asks_for(where: dict[int, int]) -> None:
    """Two asked for, one or three written."""
    assert footprint(wholes(2), placed(**{"app-0": where})) is None


def test_lesson_1_actual_wins_over_plan() -> None:
    """Two pods of one size were admitted in the other order: each holds what the kubelet gave it."""
    request = shares(8)
    assert footprint_of(request, UNIT_MIB, says({"app-0": {0: 8}}), says({"app-0": {1: 8}})) == on({1: 8})


def test_lesson_1_init_containers_follow_the_container_that_took_their_devices() -> None:
    """The kubelet does not report plain init containers; the plan's GPU must not stay charged for them."""
    request = pod_request((init(8), app(4)))
    planned, actual = says({"init": {0: 8}, "main": {0: 4}}), says({"main": {1: 4}})
    assert footprint_of(request, UNIT_MIB, planned, actual) == on({1: 8})


def test_init_containers_of_whole_gpus_follow_as_far_as_is_known() -> None:
    """Two of three GPUs are known from the app container; the plan names the third."""
    request = pod_request((init(gpus=3), app(gpus=2)))
    planned = says({"init": {0: 16, 1: 16, 2: 16}, "main": {0: 16, 1: 16}})
    assert footprint_of(request, UNIT_MIB, planned, says({"main": {5: 16, 1: 16}})) == on(whole=[5, 1, 0])


def test_init_containers_that_nobody_followed_stay_where_planned() -> None:
    """Their devices stay with the pod until it ends."""
    request = pod_request((init(8), app(gpus=1)))
    planned = says({"init": {0: 8}, "main": {1: 16}})
    assert footprint_of(request, UNIT_MIB, planned, says({"main": {2: 16}})) == on({0: 8}, whole=[2])


def test_an_actual_that_contradicts_the_spec_leaves_the_plan() -> None:
    """A tenant wrote it: the extender's own word stands."""
    request = shares(8)
    assert footprint_of(request, UNIT_MIB, says({"app-0": {0: 8}}), says({"app-0": {1: 1}})) == on({0: 8})


def test_another_unit_is_not_believed() -> None:
    """Eight units of 256 MiB are not eight of 1 GiB."""
    other = says({"app-0": {0: 8}}, UnitMib(256))
    assert footprint_of(shares(8), UNIT_MIB, other, None) is None
    assert footprint_of(shares(8), UNIT_MIB, None, other) is None


def test_no_annotation_says_nothing() -> None:
    """A pod bound by hand."""
    assert footprint_of(shares(8), UNIT_MIB, None, None) is None


def _on_gpus(devices: dict[str, frozenset[Device]]) -> Placed:
    return {
        name: {GpuUuid(gpu): Units(units) for gpu, units in sorted(Counter(gpu for gpu, _ in got).items())}
        for name, got in devices.items()
    }


def _admitted(request: PodRequest, random: Random) -> tuple[Placed, Footprint]:
    """Where the kubelet put the containers, and what that pod holds in distinct devices."""
    shared = admitted(request.containers, memory, EvenOnOwnGpus(request.gpu_count), random)
    wholly = admitted(request.containers, whole, EvenOnOwnGpus(), random)
    wholly = {name: frozenset((f"whole-{gpu}-{n}", 0) for gpu, n in got) for name, got in wholly.items()}
    held = frozenset(GpuUuid(gpu) for got in wholly.values() for gpu, _ in got)
    counted = per_gpu(shared)
    return _on_gpus({**shared, **wholly}), Footprint({GpuUuid(gpu): units for gpu, units in counted.items()}, held)


@FEW
@given(containers(most=6), st.randoms(use_true_random=False))
def test_a_footprint_counts_distinct_devices(asked: tuple[ContainerRequest, ...], random: Random) -> None:
    """Whatever the kubelet reuses, wherever it puts them."""
    request = pod_request(asked)
    where, held = _admitted(request, random)
    assert footprint(request, where) == held


@FEW
@given(containers(most=6), st.randoms(use_true_random=False))
def test_what_the_kubelet_reports_is_enough(asked: tuple[ContainerRequest, ...], random: Random) -> None:
    """Without plain init containers whose devices somebody took over, and with a plan of other GPUs."""
    request = pod_request(asked)
    where, held = _admitted(request, random)
    keepers = {container.name for container in asked if container.kind is not ContainerKind.INIT}
    followed = {
        member.container
        for demand in request.demands
        if not demand.whole and any(member.container in keepers for member in demand.members)
        for member in demand.members
    }
    reported = {name: gpus for name, gpus in where.items() if name in keepers or name not in followed}
    planned = Allocation(
        UNIT_MIB, {name: {GpuUuid(f"x-{gpu}"): gpus[gpu] for gpu in gpus} for name, gpus in where.items()}
    )
    if reported:
        assert footprint_of(request, UNIT_MIB, planned, Allocation(UNIT_MIB, reported)) == held


@FEW
@given(containers(), st.data())
def test_lesson_13_no_annotation_makes_a_pod_smaller(asked: tuple[ContainerRequest, ...], data: st.DataObject) -> None:
    """Whatever is written is either not believed or comes to at least what the largest containers ask for."""
    request = pod_request(asked)
    amounts = st.dictionaries(st.integers(0, 3), st.integers(1, 8), max_size=3)
    written = placed(**{each.name: data.draw(amounts) for each in asked})
    held = footprint(request, written)
    if held is not None:
        apps = sum(each.memory_units for each in asked if each.kind is not ContainerKind.INIT)
        inits = max((each.memory_units for each in asked if each.kind is ContainerKind.INIT), default=0)
        assert sum(held.shares.values()) >= max(apps, inits)
        assert len(held.whole) >= max((each.gpus for each in asked), default=0)
