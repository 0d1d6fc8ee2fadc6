"""What a pod asks for comes to what the kubelet will hand out, and what has no meaning is refused."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.pods.models import RequestError
from extender.scheduling.pods.request import (
    MAX_CONTAINERS,
    MAX_UNITS,
    ContainerRequest,
    Demand,
    Member,
    PodRequest,
    pod_request,
)
from tests.extender.scheduling.builders import app, init, sidecar
from tests.extender.scheduling.kubelet_devices import (
    EvenOnOwnGpus,
    EvenOnPlannedGpus,
    admitted,
    core,
    memory,
    per_gpu,
    whole,
)
from tests.extender.scheduling.strategies import containers

FEW = settings(max_examples=80, deadline=None)


def test_an_app_container_is_one_demand() -> None:
    """The common case."""
    assert pod_request((app(8),)).demands == (Demand(8, 1),)
    assert pod_request((app(8),)).demands[0].members == (Member("main", 8, 1),)


def test_app_containers_are_demands_of_their_own() -> None:
    """Two containers may sit on two GPUs."""
    assert pod_request((app(8, name="a"), app(4, name="b"))).demands == (Demand(8, 1), Demand(4, 1))


def test_lesson_2_an_init_container_counts_once() -> None:
    """The app container takes over the init container's devices, so the larger of the two is what is needed."""
    assert pod_request((init(10), app(4))).demands == (Demand(10, 1),)
    assert pod_request((init(4), app(10))).demands == (Demand(10, 1),)


def test_what_is_left_of_the_pool_goes_to_the_next_app_container() -> None:
    """Ten units of the init container: four for the first, six for the second, who needs one more."""
    request = pod_request((init(10), app(4, name="a"), app(7, name="b"), app(2, name="c")))
    assert request.demands == (Demand(11, 1), Demand(2, 1))


def test_a_sidecar_keeps_what_it_takes_from_the_pool() -> None:
    """A restartable init container never gives devices back."""
    assert pod_request((init(8), sidecar(3), app(8))).demands == (Demand(11, 1),)
    assert pod_request((sidecar(3), init(8), app(8))).demands == (Demand(3, 1), Demand(8, 1))


def test_an_init_container_after_a_used_up_pool_is_free_to_choose_its_gpu() -> None:
    """Nothing ties it to the GPU of the first pool, so nothing must refuse it there."""
    request = pod_request((init(4, name="a"), sidecar(4), init(4, name="b"), app(4)))
    assert request.demands == (Demand(4, 1), Demand(4, 1))


def test_whole_gpus_of_init_containers_are_reused() -> None:
    """Two for the init container, of which the sidecar keeps one; the app container needs one more."""
    request = pod_request((init(gpus=2), sidecar(gpus=1), app(gpus=2)))
    assert request.demands == (Demand(0, 3),)
    assert request.demands[0].members == (
        Member("init", 0, 2, first=0),
        Member("sidecar", 0, 1, first=0),
        Member("main", 0, 2, first=1),
    )


def test_gpu_count_divides_every_container() -> None:
    """Units per GPU, and on how many GPUs."""
    request = pod_request((app(16, name="a"), app(8, name="b")), gpu_count=4)
    assert request.demands == (Demand(4, 4), Demand(2, 4))
    assert request.memory_units == 24


@FEW
@given(containers(most=6), st.randoms(use_true_random=False))
def test_pooled_demands_equal_the_kubelets_device_reuse(asked: tuple[ContainerRequest, ...], random: Random) -> None:
    """Whatever devices it takes out of the pool, every GPU carries one demand's units, for the demand's members."""
    devices = admitted(asked, memory, EvenOnOwnGpus(), random)
    shared = [demand for demand in pod_request(asked).demands if not demand.whole]
    assert [per_gpu(devices)[on] for on in sorted(per_gpu(devices))] == [demand.units for demand in shared]
    assert sorted((name, on) for name, got in devices.items() for on in {on for on, _ in got}) == sorted(
        (member.container, on)
        for on, demand in zip(sorted(per_gpu(devices)), shared, strict=True)
        for member in demand.members
    )


@FEW
@given(containers(most=6), st.integers(2, 4), st.randoms(use_true_random=False))
def test_divided_demands_equal_the_kubelets_device_reuse(
    asked: tuple[ContainerRequest, ...], count: int, random: Random
) -> None:
    """With gpu-count every GPU of a demand carries the same units, or the pod is refused."""
    multiplied = tuple(ContainerRequest(c.name, c.kind, c.memory_units * count, c.gpus) for c in asked)
    if not any(container.memory_units for container in multiplied):
        return
    try:
        request = pod_request(multiplied, gpu_count=count)
    except RequestError as error:
        assert "asks for less gpu-mem than an init container before it" in str(error)  # noqa: PT017 (either is fine)
        return
    devices = admitted(multiplied, memory, EvenOnOwnGpus(count), random)
    assert [per_gpu(devices)[on] for on in sorted(per_gpu(devices))] == [
        demand.units for demand in request.demands if not demand.whole for _ in range(demand.gpus)
    ]


def test_compute_goes_with_the_memory() -> None:
    """Of each GPU that the container is on."""
    assert pod_request((app(8, core=30),)).demands == (Demand(8, 1, core_percent=30),)
    assert pod_request((app(8, core=60),), gpu_count=2).demands == (Demand(4, 2, core_percent=30),)


def test_compute_of_an_init_container_counts_once() -> None:
    """The kubelet hands its devices on, as it does with memory."""
    assert pod_request((init(4, core=50), app(8, core=20))).demands == (Demand(8, 1, core_percent=50),)
    assert pod_request((init(4, core=20), sidecar(4, core=10), app(4, core=20))).demands == (
        Demand(8, 1, core_percent=30),
    )


def test_a_container_stays_where_compute_is_left_for_it() -> None:
    """The memory of the init container is used up, its compute is not, and that is on its GPU."""
    request = pod_request((init(4, core=50), app(4, name="a"), app(4, core=50, name="b")))
    assert request.demands == (Demand(8, 1, core_percent=50),)


def test_compute_tells_requests_apart() -> None:
    """They share no table."""
    assert pod_request((app(8, core=30),)) != pod_request((app(8),))
    assert (pod_request((app(8, core=30),)).asks_core, pod_request((app(8),)).asks_core) == (True, False)


@FEW
@given(containers(most=6, core=True), st.integers(1, 3), st.randoms(use_true_random=False))
def test_memory_and_compute_of_a_container_come_from_the_same_gpus(
    asked: tuple[ContainerRequest, ...], count: int, random: Random
) -> None:
    """Whatever the kubelet takes out of its two pools, and every GPU carries the demand's amounts of both."""
    many = tuple(
        ContainerRequest(c.name, c.kind, c.memory_units * count, c.gpus, c.core_percent * count) for c in asked
    )
    try:
        request = pod_request(many, gpu_count=count)
    except RequestError as error:
        refusals = ("asks for less gpu-mem than", "asks for less gpu-core than", "no container asks for gpu-mem")
        assert any(text in str(error) for text in refusals)  # noqa: PT017 (either is fine)
        return
    shared = [demand for demand in request.demands if not demand.whole]
    gpus = [[f"gpu-{at}-{n}" for n in range(demand.gpus)] for at, demand in enumerate(shared)]
    plan = {m.container: on for demand, on in zip(shared, gpus, strict=True) for m in demand.members}
    memory_devices = admitted(many, memory, EvenOnPlannedGpus(plan), random)
    core_devices = admitted(many, core, EvenOnPlannedGpus(plan), random)
    for devices in (memory_devices, core_devices):
        assert all({on for on, _ in got} == set(plan[name]) for name, got in devices.items())
    assert per_gpu(memory_devices) == {
        on: demand.units for demand, names in zip(shared, gpus, strict=True) for on in names
    }
    assert (per_gpu(core_devices) if core_devices else {}) == {
        on: demand.core_percent
        for demand, names in zip(shared, gpus, strict=True)
        for on in names
        if demand.core_percent
    }


@FEW
@given(containers(most=6), st.randoms(use_true_random=False))
def test_whole_demands_equal_the_kubelets_device_reuse(asked: tuple[ContainerRequest, ...], random: Random) -> None:
    """As many different GPUs as the kubelet hands out in all."""
    devices = admitted(asked, whole, EvenOnOwnGpus(), random)
    assert len(frozenset().union(*devices.values())) == pod_request(asked).whole_gpus


@FEW
@given(containers(most=6))
def test_containers_that_keep_whole_gpus_have_their_own(asked: tuple[ContainerRequest, ...]) -> None:
    """Sidecars and apps never share a place in a whole-GPU demand; together with init containers they fill it."""
    keepers = {container.name for container in asked if container.kind.value != "init"}
    for demand in pod_request(asked).demands:
        if demand.whole:
            places = {m.container: range(m.first, m.first + m.gpus) for m in demand.members}
            kept = [place for name, taken in places.items() if name in keepers for place in taken]
            assert sorted(set(kept)) == sorted(kept)
            assert {place for taken in places.values() for place in taken} == set(range(demand.gpus))


def test_equality_leaves_out_names() -> None:
    """Pods of one shape share the tables that are kept per request."""
    one, other = pod_request((app(8, name="a"),)), pod_request((app(8, name="b"),))
    assert (one == other, hash(one) == hash(other)) == (True, True)
    assert one != pod_request((app(9, name="a"),))


def test_containers_without_gpus_do_not_count() -> None:
    """A quantity of 0 asks for nothing."""
    assert pod_request((app(0, name="a"), app(8, name="b"))).demands == (Demand(8, 1),)
    assert pod_request((app(0),)) == PodRequest(demands=())


@pytest.mark.parametrize(
    ("memory_units", "gpus", "message"),
    [
        (-1, 0, "container main: gpu-mem is -1, expected 0 to 1048576 units"),
        (8 << 30, 0, "container main: gpu-mem is 8589934592, expected 0 to 1048576 units"),
        (MAX_UNITS + 1, 0, "gpu-mem is 1048577"),
        (0, -1, "container main: gpu is -1, expected 0 to 1048576 whole GPUs"),
        (0, MAX_UNITS + 1, "gpu is 1048577"),
        (1, 1, "container main: asks for gpu-mem and for whole GPUs, expected one of them"),
    ],
)
def test_absurd_quantities_name_the_field_and_the_value(memory_units: int, gpus: int, message: str) -> None:
    """`8Gi` is accepted by the API server and means eight thousand million units."""
    with pytest.raises(RequestError) as caught:
        app(memory_units, gpus=gpus)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("memory_units", "gpus", "core", "message"),
    [
        (8, 0, -1, "container main: gpu-core is -1, expected 0 to 100 percent per GPU"),
        (8, 0, MAX_UNITS + 1, "gpu-core is 1048577"),
        (0, 1, 50, "container main: asks for gpu-core and for whole GPUs, which include all of their compute"),
        (0, 0, 50, "container main: asks for gpu-core without gpu-mem, expected both"),
    ],
)
def test_compute_that_means_nothing_is_refused(memory_units: int, gpus: int, core: int, message: str) -> None:
    """It is a part of a GPU of which the container holds memory."""
    with pytest.raises(RequestError) as caught:
        app(memory_units, gpus=gpus, core=core)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "count", "message"),
    [
        ((app(8),), 0, "gpu-count is 0, expected 1 or more GPUs"),
        ((app(8),), -2, "gpu-count is -2, expected 1 or more GPUs"),
        ((app(8),), MAX_UNITS + 1, "gpu-count is 1048577"),
        ((app(8),), 3, "container main: gpu-mem 8 is not divisible by gpu-count 3"),
        ((app(8), app(3, name="b")), 2, "container b: gpu-mem 3 is not divisible by gpu-count 2"),
        ((app(gpus=2),), 2, "gpu-count is 2 but no container asks for gpu-mem"),
        ((init(8), app(4)), 2, "container main: asks for less gpu-mem than an init container before it"),
        (
            (init(8, core=40), app(8, core=20)),
            2,
            "container main: asks for less gpu-core than an init container before it",
        ),
        ((app(8, core=101),), 1, "container main: gpu-core is 101, expected at most 100 percent for each of its GPUs"),
        ((app(8, core=202),), 2, "container main: gpu-core is 202, expected at most 100 percent for each of its GPUs"),
        ((app(8, core=25),), 2, "container main: gpu-core 25 is not divisible by gpu-count 2"),
        (tuple(app(1, name=str(at)) for at in range(MAX_CONTAINERS + 1)), 1, "65 containers ask for GPUs"),
    ],
)
def test_senseless_pods_name_the_field_and_the_value(
    asked: tuple[ContainerRequest, ...], count: int, message: str
) -> None:
    """Each refusal says what was expected."""
    with pytest.raises(RequestError) as caught:
        pod_request(asked, gpu_count=count)
    assert message in str(caught.value)
