"""Shapes that pods without an alternative want are scarce; shapes that nobody needs are abundant."""

import pytest

from extender.scheduling.learning.scarcity import abundance, hosts_request
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.models import parse_models
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request

T4 = NodeShape((("T4", 16),) * 2, 32, 128)
A10 = NodeShape((("A10", 24),) * 8, 96, 384)


def _pod(units: int = 0, gpus: int = 0, models: str = "*", cpu_milli: int = 1000, memory_bytes: int = 0) -> PodRequest:
    return pod_request(
        (ContainerRequest("main", memory_units=units, gpus=gpus),),
        models=parse_models(models),
        cpu_milli=cpu_milli,
        memory_bytes=memory_bytes,
    )


def test_a_shape_that_is_the_only_host_of_much_is_scarce() -> None:
    """Most of the demand insists on T4."""
    theta = abundance({_pod(8, models="T4"): 90.0, _pod(8): 10.0}, {T4: 10, A10: 10}, reference_units=20.0)
    assert (theta[T4] < 0.2, theta[A10] > 1.0) == (True, True)


def test_demand_that_goes_anywhere_makes_nothing_scarce() -> None:
    """All shapes are alike."""
    theta = abundance({_pod(8): 5.0}, {T4: 10, A10: 10}, reference_units=20.0)
    assert theta == pytest.approx({T4: 1.0, A10: 1.0})


def test_without_demand_nothing_is_scarce() -> None:
    """Nobody has asked for anything yet."""
    assert abundance({}, {T4: 1}, reference_units=16.0) == {T4: 1.0}


def test_an_empty_node_hosts_what_it_has_room_for() -> None:
    """Sizes, numbers, models, CPU and memory count."""
    assert hosts_request(T4, _pod(16)) is True
    assert hosts_request(T4, _pod(17)) is False
    assert hosts_request(T4, _pod(gpus=3)) is False
    assert hosts_request(T4, _pod(8, models="A10")) is False
    assert hosts_request(T4, _pod(8, cpu_milli=33_000)) is False
    assert hosts_request(T4, _pod(8, memory_bytes=130 << 30)) is False


def test_mig_devices_host_what_may_go_there() -> None:
    """Shares, and whole ones only for who names them."""
    mixed = NodeShape((("A100", 80), ("A100 MIG 1g.10gb", 9)), 32, 128, (False, True))
    slices = NodeShape((("A100 MIG 1g.10gb", 9),) * 2, 32, 128, (True, True))
    assert [hosts_request(shape, _pod(9)) for shape in (mixed, slices)] == [True, True]
    assert [hosts_request(shape, _pod(gpus=1)) for shape in (mixed, slices)] == [True, False]
    assert [hosts_request(shape, _pod(gpus=1, models="*MIG*")) for shape in (mixed, slices)] == [True, True]
    assert [hosts_request(shape, _pod(gpus=2, models="*,*MIG*")) for shape in (mixed, slices)] == [False, False]


def test_shapes_without_gpus_have_no_abundance() -> None:
    """No pod with GPUs goes there."""
    plain = NodeShape((), 64, 256)
    assert abundance({_pod(8): 5.0}, {T4: 10, plain: 3, A10: 0}, reference_units=16.0) == pytest.approx({T4: 1.0})
