"""The checker finds every way in which a GPU can be given out twice, and none where all is well."""

from collections.abc import Mapping
from typing import Any

import pytest

from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from extender.contract.allocation import Allocation
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, Units
from tests.checker import UsageCheck

NAMES = Names()
NODE = MachineSpec("n", (GpuSpec("Tesla T4", 16 * 1024, 2),))
G0, G1 = "GPU-n-0", "GPU-n-1"


def _text(given: Mapping[str, Mapping[str, int]]) -> str:
    containers = {name: {GpuUuid(uuid): Units(units) for uuid, units in gpus.items()} for name, gpus in given.items()}
    return Allocation(DEFAULT_UNIT_MIB, containers).to_json()


def _pod(
    name: str,
    amount: int,
    planned: Mapping[str, int] | None = None,
    actual: Mapping[str, int] | None = None,
    *,
    resource: str = NAMES.memory_resource,
    count: int = 1,
) -> dict[str, Any]:
    annotations = {NAMES.count_annotation: str(count)}
    if planned is not None:
        annotations[NAMES.allocation_annotation] = _text({"main": planned})
    if actual is not None:
        annotations[NAMES.allocated_annotation] = _text({"main": actual})
    pod = gpu_pod(name, {resource: amount}, annotations=annotations, nodeName="n")
    pod["metadata"] |= {"uid": name, "namespace": "default"}
    return pod


@pytest.fixture
def check() -> UsageCheck:
    """A node of two GPUs of 16 units."""
    started = UsageCheck(NAMES)
    started.set_node(NODE.hollow_node_object(NAMES))
    return started


def _kinds(check: UsageCheck) -> list[str]:
    return [violation.kind for violation in check.violations]


def test_full_gpus_are_no_violation(check: UsageCheck) -> None:
    """Exactly the capacity, in both views."""
    check.set_pod(_pod("a", 16, {G0: 16}))
    check.set_pod(_pod("b", 8, {G1: 8}))
    check.set_pod(_pod("b", 8, {G1: 8}, {G1: 8}))
    check.set_pod(_pod("c", 8, {G1: 8}))
    assert (check.violations, check.usage("n")) == ([], {G0: 16, G1: 16})


def test_a_plan_over_capacity_is_found_at_once(check: UsageCheck) -> None:
    """With the GPU, the node and the pod that made it so."""
    check.set_pod(_pod("a", 9, {G0: 9}))
    check.set_pod(_pod("b", 8, {G0: 8}))
    (found,) = check.violations
    assert (found.kind, found.node, found.pod) == ("planned over capacity", "n", "default/b")
    assert found.detail == f"{G0} has 17 units in use of 16"


def test_reports_over_capacity_are_found(check: UsageCheck) -> None:
    """What the plugins report must never exceed a GPU."""
    check.set_pod(_pod("a", 9, None, {G0: 9}))
    check.set_pod(_pod("b", 8, None, {G0: 8}))
    assert "over capacity" in _kinds(check)


def test_a_swap_under_way_is_no_violation_unless_it_stays(check: UsageCheck) -> None:
    """The first of two swapped pods has reported, the second has not."""
    check.set_pod(_pod("a", 16, {G0: 16}))
    check.set_pod(_pod("b", 16, {G1: 16}))
    check.set_pod(_pod("a", 16, {G0: 16}, {G1: 16}))
    assert check.violations == []
    check.set_pod(_pod("b", 16, {G1: 16}, {G0: 16}))
    assert check.settle() == []
    check.set_pod(_pod("b", 16, {G1: 16}))
    assert [violation.kind for violation in check.settle()] == ["over capacity at the end"]


def test_gone_and_ended_pods_count_no_more(check: UsageCheck) -> None:
    """Deleted, or in a phase that is final."""
    check.set_pod(_pod("a", 16, {G0: 16}))
    check.remove_pod("a")
    check.set_pod(_pod("b", 16, {G0: 16}))
    check.set_pod(_pod("b", 16, {G0: 16}) | {"status": {"phase": "Failed"}})
    check.set_pod(_pod("c", 16, {G0: 16}))
    assert check.violations == []


@pytest.mark.parametrize(
    ("pod", "detail"),
    [
        (_pod("a", 8, {G0: 4, G1: 4}), "is spread over"),
        (_pod("a", 8, {G0: 7}), "has 7 units, asked for 8"),
        (_pod("a", 8, {}), "has 0 units, asked for 8"),
        (_pod("a", 8, {"GPU-x": 8}), "is not one that the node ever had"),
        (_pod("a", 8, {G0: 6, G1: 2}, count=2), "asked for 2 GPUs evenly"),
        (_pod("a", 1, {G0: 8}, resource=NAMES.gpu_resource), "asked for the whole GPU"),
        (_pod("a", 2, {G0: 16}, resource=NAMES.gpu_resource), "asked for 2 whole ones"),
    ],
)
def test_an_allocation_that_is_not_the_request_is_found(check: UsageCheck, pod: dict[str, Any], detail: str) -> None:
    """Split containers, wrong amounts, unknown GPUs, uneven spreads, whole GPUs that are not whole."""
    check.set_pod(pod)
    check.set_pod(pod | {"status": {"phase": "Running"}})
    assert [detail in violation.detail for violation in check.settle()] == [True]


def test_what_was_asked_for_is_no_violation(check: UsageCheck) -> None:
    """An even spread over two GPUs, and a whole GPU."""
    check.set_pod(_pod("a", 8, {G0: 4, G1: 4}, count=2))
    check.remove_pod("a")
    check.set_pod(_pod("b", 1, {G0: 16}, resource=NAMES.gpu_resource))
    assert check.violations == []


def test_a_share_beside_a_whole_gpu_is_found(check: UsageCheck) -> None:
    """A whole GPU has all units of it."""
    check.set_pod(_pod("a", 1, {G0: 16}, resource=NAMES.gpu_resource))
    check.set_pod(_pod("b", 1, {G0: 1}))
    assert _kinds(check) == ["planned over capacity"]


def test_plain_init_containers_may_be_missing_in_reports(check: UsageCheck) -> None:
    """The plugin cannot see them in podresources; the usage is the greater of both stages."""
    pod = _pod("a", 4, {G0: 4}, {G0: 4})
    resources = {"limits": {NAMES.memory_resource: "8"}}
    pod["spec"]["initContainers"] = [{"name": "init", "image": "x", "resources": resources}]
    pod["metadata"]["annotations"][NAMES.allocation_annotation] = _text({"init": {G0: 8}, "main": {G0: 4}})
    check.set_pod(pod)
    assert check.violations == []


def test_unreadable_annotations_are_found(check: UsageCheck) -> None:
    """Never ignored."""
    pod = _pod("a", 4)
    pod["metadata"]["annotations"][NAMES.allocated_annotation] = "{"
    check.set_pod(pod)
    assert _kinds(check) == ["unreadable allocation"]
