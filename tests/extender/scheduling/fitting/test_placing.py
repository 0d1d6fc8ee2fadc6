"""A choice becomes an Allocation and a Footprint that say the same."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.contract.units import Units
from extender.scheduling.fitting.choosing import Chosen
from extender.scheduling.fitting.placing import allocation_of, footprint_of_choice
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.footprint import footprint
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from tests.extender.scheduling.builders import UNIT_MIB, app, init, node, on, shares, sidecar, uuid
from tests.extender.scheduling.kubelet_devices import Device, EvenOnPlannedGpus, admitted, core, memory, per_gpu, whole
from tests.extender.scheduling.placements import all_placements, carries_out
from tests.extender.scheduling.strategies import nodes, requests

SOME = settings(max_examples=80, deadline=None)


def test_every_container_gets_its_own_units() -> None:
    """In the contract's form."""
    place, request = node(16, 16), shares(8, 4)
    assert allocation_of(place, request, ((1,), (0,)), unit_mib=UNIT_MIB).containers == {
        "app-0": {uuid(1): 8},
        "app-1": {uuid(0): 4},
    }
    assert footprint_of_choice(place, request, ((1,), (0,))) == on({1: 8, 0: 4})


def test_a_whole_gpu_is_all_its_units() -> None:
    """GPUs of two sizes."""
    place, request = node(16, 80), pod_request((app(gpus=2),))
    assert allocation_of(place, request, ((0, 1),), unit_mib=UNIT_MIB).containers == {
        "main": {uuid(0): 16, uuid(1): 80}
    }
    assert footprint_of_choice(place, request, ((0, 1),)) == on(whole=[0, 1])


def test_containers_that_keep_whole_gpus_get_different_ones() -> None:
    """The init container's two go to the sidecar and to the app container, who gets one more."""
    place, request = node(16, 16, 16), pod_request((init(gpus=2), sidecar(gpus=1), app(gpus=2)))
    allocation = allocation_of(place, request, ((0, 1, 2),), unit_mib=UNIT_MIB)
    assert {name: sorted(gpus) for name, gpus in allocation.containers.items()} == {
        "init": [uuid(0), uuid(1)],
        "sidecar": [uuid(0)],
        "main": [uuid(1), uuid(2)],
    }
    assert footprint(request, allocation.containers) == on(whole=[0, 1, 2])


@st.composite
def placements(draw: st.DrawFn) -> tuple[NodeInfo, PodRequest, Chosen] | None:
    """A pod that fits, and any of the ways in which it does."""
    place, request = draw(nodes()), draw(requests(largest=6, core=True))
    ways = [way for way, _ in zip(all_placements(place, request), range(40), strict=False)]
    return (place, request, draw(st.sampled_from(ways))) if ways else None


@SOME
@given(placements())
def test_promise_the_footprint_of_the_allocation_is_the_footprint_of_the_choice(
    placed: tuple[NodeInfo, PodRequest, Chosen] | None,
) -> None:
    """What the Binding says and what is charged until the watch shows it are the same."""
    if placed is not None:
        place, request, chosen = placed
        allocation = allocation_of(place, request, chosen, unit_mib=UNIT_MIB)
        assert carries_out(allocation, request)
        assert footprint(request, allocation.containers) == footprint_of_choice(place, request, chosen)


@SOME
@given(placements(), st.randoms(use_true_random=False))
def test_promise_the_kubelet_can_follow_the_allocation(
    placed: tuple[NodeInfo, PodRequest, Chosen] | None, random: Random
) -> None:
    """Its arbitrary choice from the pool never keeps it from giving each container its planned amount per GPU."""
    if placed is None:
        return
    place, request, chosen = placed
    plan = allocation_of(place, request, chosen, unit_mib=UNIT_MIB).containers
    taken: set[Device] = set()
    wholly: set[str] = set()

    def new_units(container: ContainerRequest, reused: frozenset[Device], _missing: int) -> list[Device]:
        new: list[Device] = []
        for gpu, units in plan[container.name].items():
            missing = units - sum(1 for on, _ in reused if on == gpu)
            new += [(gpu, len(taken) + len(new) + at) for at in range(missing)]
        taken.update(new)
        return new

    def new_gpus(container: ContainerRequest, _reused: frozenset[Device], missing: int) -> list[Device]:
        new = [gpu for gpu in plan[container.name] if gpu not in wholly][:missing]
        wholly.update(new)
        return [(gpu, 0) for gpu in new]

    devices = admitted(request.containers, memory, new_units, random)
    assert {name: per_gpu({name: got}) for name, got in devices.items()} == {name: dict(plan[name]) for name in devices}
    given_whole = admitted(request.containers, whole, new_gpus, random)
    held = footprint_of_choice(place, request, chosen)
    assert per_gpu(devices) == held.shares
    on = {name: tuple(gpus) for name, gpus in plan.items()}
    compute = admitted(request.containers, core, EvenOnPlannedGpus(on), random)
    assert all({gpu for gpu, _ in got} == set(on[name]) for name, got in compute.items())
    assert (per_gpu(compute) if compute else {}) == held.cores
    assert frozenset(per_gpu(given_whole)) == held.whole


def test_units_are_the_contracts() -> None:
    """The unit travels with the numbers."""
    assert allocation_of(node(16), shares(8), ((0,),), unit_mib=UNIT_MIB).unit_mib == UNIT_MIB
    assert allocation_of(node(16), shares(8), ((0,),), unit_mib=UNIT_MIB).containers["app-0"][uuid(0)] == Units(8)
