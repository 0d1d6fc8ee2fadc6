"""Between extender and API server something breaks; kube-scheduler and everyone else reach the API server as usual."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.simulated.waiting import wait_until
from tests.chaos.proxy.faults import CarriesOutLate, replies_html
from tests.chaos.proxy.rules import BINDING, Rule
from tests.chaos.proxy.server import ChaosProxy
from tests.checker import Checker
from tests.e2e.controlplane import ControlPlane
from tests.e2e.promises.clusters import add_nodes, pod_in, running
from tests.e2e.promises.recomputing import wait_agreed
from tests.e2e.scenarios.environment import A100, NAMESPACE, Environment, RealBackend

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXTENDER = "gpupack-scheduler"
PODS = 45
NOT_FOUND_S = 6.0
LATE_S = 8.0
"""Longer than the extender waits for an answer, and than it doubts what has become of a Binding."""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A cluster whose extender reaches the API server through a proxy."""

    environment: Environment
    proxy: ChaosProxy


@pytest.fixture(scope="module")
def disturbed(
    control_plane: ControlPlane, backend: RealBackend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disturbed]:
    """The module's cluster; its tests have nodes of their own, and leave the proxy undisturbing."""
    with ChaosProxy(control_plane.access_of(NAMESPACE, EXTENDER)) as proxy:
        backend.extender_access = proxy.write_kubeconfig(tmp_path_factory.mktemp("proxy") / "kubeconfig")
        with running(backend) as environment:
            yield Disturbed(environment, proxy)


def test_a_404_that_is_not_about_the_pod_buries_no_pod(disturbed: Disturbed) -> None:
    """A load balancer's default backend answers everything for six seconds; 45 pods come just before and meanwhile."""
    environment, proxy = disturbed.environment, disturbed.proxy
    add_nodes(environment, "lost", *(f"l{number}" for number in range(5)), gpu=A100)
    names = [f"pod-{number}" for number in range(PODS)]
    process = environment.extender.pid
    with Checker(environment.client) as checker:
        for name in names[:10]:
            environment.client.create_pod(pod_in("lost", name, 8))
        proxy.disturb(Rule(replies_html(404)))
        healed_s = time.monotonic() + NOT_FOUND_S
        for name in names[10:]:
            environment.client.create_pod(pod_in("lost", name, 8))
            time.sleep(NOT_FOUND_S / PODS)
        wait_until(lambda: time.monotonic() >= healed_s, "the time of the fault to be over")
        proxy.heal()
        # All at once: the last pod has no more time than the first.
        deadline_s = time.monotonic() + 20
        for name in names:
            environment.wait_bound(name, timeout_s=max(0.0, deadline_s - time.monotonic()))
        wait_agreed(environment)
        assert checker.settle() == ()
    assert environment.extender.pid == process


def test_a_binding_that_arrives_late_gives_no_memory_twice(control_plane: ControlPlane, disturbed: Disturbed) -> None:
    """When the extender has given the place to another pod, the API server refuses what was still on its way."""
    environment, proxy = disturbed.environment, disturbed.proxy
    add_nodes(environment, "late", "late")
    with Checker(environment.client) as checker:
        proxy.disturb(Rule(CarriesOutLate(LATE_S), (BINDING,), path="/pods/first/"))
        environment.client.create_pod(pod_in("late", "first", 10))
        wait_until(lambda: _holds(environment, "late"), "the Binding of first to be on its way")
        late_s = time.monotonic() + LATE_S
        environment.client.create_pod(pod_in("late", "second", 10))
        environment.wait_bound("second", timeout_s=20)
        wait_until(lambda: time.monotonic() >= late_s + 1.0, "the late Binding to arrive")
        bindings = wait_until(lambda: _bindings(control_plane, "first"), "the late Binding's answer")
        assert checker.settle() == ()
        assert set(bindings) == {409}
    first = environment.client.pod("first")
    assert first is not None
    assert "nodeName" not in first["spec"]
    wait_agreed(environment)


def _holds(environment: Environment, name: str) -> bool:
    """Whether a Binding to the node is on its way."""
    (node,) = (node for node in environment.extender_nodes() if node["name"] == name)
    return any(holder["state"] == "assumed" for gpu in node["gpus"] for holder in gpu["holders"])


def _bindings(control_plane: ControlPlane, name: str) -> list[int]:
    """How the API server has answered each Binding of the pod."""
    requests = control_plane.audited(NAMESPACE, EXTENDER)
    return [each.status for each in requests if each.right.resource == "pods/binding" and each.name == name]
