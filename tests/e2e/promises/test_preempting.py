"""A pod that preempts others gets the GPU that they leave, however long they take and whoever comes meanwhile."""

from collections.abc import Iterator
from dataclasses import replace as changed
from typing import Any

import pytest

from bench.simulated.specs import MachineSpec
from bench.simulated.waiting import wait_until
from extender.contract.allocation import Allocation, parse_allocation
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, Units
from tests.checker import Checker
from tests.e2e.controlplane import ControlPlane
from tests.e2e.promises.clusters import P100, add_nodes, pod_in, running
from tests.e2e.promises.recomputing import wait_agreed
from tests.e2e.scenarios.environment import NAMES, Environment, RealBackend

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def urgent(control_plane: ControlPlane) -> str:
    """The name of a priority class above that of all other pods."""
    body = {"metadata": {"name": "urgent"}, "value": 1000}
    control_plane.api.create("/apis/scheduling.k8s.io/v1/priorityclasses", body)
    return "urgent"


@pytest.fixture
def patient(backend: RealBackend) -> Iterator[Environment]:
    """A cluster whose kube-scheduler waits for the end of a pod's backoff also when it has nothing else to do."""
    backend.scheduler_flags = ("--feature-gates=SchedulerPopFromBackoffQ=false",)
    with running(backend) as environment:
        yield environment
    backend.scheduler_flags = ()


def test_a_gpu_that_is_being_emptied_goes_to_the_pod_it_is_emptied_for(backend: RealBackend, urgent: str) -> None:
    """One of two victims is gone, the other takes its time: no pod of low priority gets in, and no other is evicted."""
    large = {"a": 0, "b": 1}
    small = {"d": 0, "c": 1}
    with running(backend) as environment, Checker(environment.client) as checker:
        add_nodes(environment, "two", "two", gpu=changed(P100, count=2))
        _place(environment, "two", {name: (10, gpu) for name, gpu in large.items()})
        _place(environment, "two", {name: (2, gpu) for name, gpu in small.items()})
        environment.client.create_pod(pod_in("two", "p", 16, priorityClassName=urgent))
        wait_until(lambda: len(_leaving(environment, "two")) >= 2, "pods to leave", timeout_s=20)
        leaving = _leaving(environment, "two")
        assert leaving in ({"a", "d"}, {"b", "c"})
        (gone,), (stays,) = leaving & {*large}, leaving & {*small}
        environment.client.delete_pod(gone, grace_s=0)
        wait_agreed(environment)
        environment.client.create_pod(pod_in("two", "low", 8))
        environment.wait_refused("low", timeout_s=20)
        environment.client.delete_pod(stays, grace_s=0)
        p = environment.wait_bound("p", timeout_s=20)
        assert _gpus(p) == {_uuid("two", 2, large[gone])}
        assert _leaving(environment, "two") == set()
        low = environment.client.pod("low")
        assert low is not None
        assert "nodeName" not in low["spec"]
        assert checker.settle() == ()


def test_a_gpu_that_was_emptied_is_kept_for_the_pod_it_was_emptied_for(patient: Environment, urgent: str) -> None:
    """The pod's backoff is not over when its victim is gone; a small pod comes meanwhile, and fits nowhere else."""
    add_nodes(patient, "three", "three", gpu=changed(P100, count=3))
    _place(patient, "three", {"victim": (12, 0), "x": (13, 1), "y": (13, 2)})
    with Checker(patient.client) as checker:
        patient.client.create_pod(pod_in("three", "q", 16, priorityClassName=urgent))
        wait_until(lambda: _leaving(patient, "three") == {"victim"}, "the victim to leave", timeout_s=20)
        patient.client.delete_pod("victim", grace_s=0)
        patient.client.create_pod(pod_in("three", "small", 4))
        assert _gpus(patient.wait_bound("q", timeout_s=20)) == {_uuid("three", 3, 0)}
        patient.wait_refused("small")
        assert _leaving(patient, "three") == set()
        assert checker.settle() == ()


def _place(environment: Environment, node: str, pods: dict[str, tuple[int, int]]) -> None:
    """Bind pods by hand, so that each is on the GPU wanted: its units and the GPU's index by name."""
    count = 1 + max(gpu for _, gpu in pods.values())
    for name, (units, gpu) in pods.items():
        environment.client.create_pod(pod_in(node, name, units, schedulerName="by-hand"))
        containers = {"main": {_uuid(node, count, gpu): Units(units)}}
        plan = Allocation(DEFAULT_UNIT_MIB, containers)
        environment.client.bind_pod(name, node, annotations={NAMES.allocation_annotation: plan.to_json()})
    wait_agreed(environment)


def _uuid(node: str, count: int, index: int) -> GpuUuid:
    return MachineSpec(node, (changed(P100, count=count),)).inventory().gpus[index].uuid


def _leaving(environment: Environment, node: str) -> set[str]:
    """The pods on the node that are being deleted."""
    pods = environment.client.pods(fieldSelector=f"spec.nodeName={node}")
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]}


def _gpus(pod: dict[str, Any]) -> set[GpuUuid]:
    plan = parse_allocation(pod["metadata"]["annotations"][NAMES.allocation_annotation])
    return {uuid for gpus in plan.containers.values() for uuid in gpus}
