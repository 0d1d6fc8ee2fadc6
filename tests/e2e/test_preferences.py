"""What a pod prefers has a say beside the policy, on the real kube-scheduler: the simulated one scores no preferences.

The policy would put every pod on the node that is used already. kube-scheduler gives a preference twice the weight of
the policy's score.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.checker import Checker
from tests.e2e.controlplane import ControlPlane
from tests.e2e.scenarios.environment import MEMORY, Environment, RealBackend, gpus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NODES = ("n0", "n1", "n2", "n3")
HOST = "kubernetes.io/hostname"
APP = {"app": "spread"}


@pytest.fixture(scope="module")
def backend(control_plane: ControlPlane) -> RealBackend:
    """A control plane with gpupack's rights."""
    return RealBackend(control_plane)


def started(backend: RealBackend, *arguments: str) -> Environment:
    """Four equal nodes, which extender and scheduler know; on n1 are 40 units, on n2 20."""
    environment = Environment(backend, ("--policy", "binpack", *arguments))
    environment.start()
    try:
        for name in NODES:
            environment.add_hollow_node(MachineSpec(name, gpus(a100=2)))
        wait_until(lambda: len(environment.extender_nodes()) == len(NODES), "the extender to know the nodes")
        environment.wait_scheduler_knows_nodes()
        for name, units in (("n1", 40), ("n2", 20)):
            placed(environment, gpu_pod(f"on-{name}", {MEMORY: units}, nodeSelector={HOST: name}))
    except BaseException:
        environment.stop()
        raise
    return environment


@pytest.fixture
def environment(backend: RealBackend) -> Iterator[Environment]:
    """With the settings that are shipped, but a policy that learns nothing."""
    running = started(backend)
    yield running
    running.stop()


def placed(environment: Environment, pod: dict[str, Any]) -> str:
    """The node that the pod gets."""
    environment.client.create_pod(pod)
    return str(environment.wait_bound(pod["metadata"]["name"])["spec"]["nodeName"])


def preferring(name: str, node: str, units: int = 10) -> dict[str, Any]:
    """A pod that prefers a node."""
    expression = {"key": HOST, "operator": "In", "values": [node]}
    term = {"weight": 100, "preference": {"matchExpressions": [expression]}}
    return gpu_pod(name, {MEMORY: units}, affinity={"nodeAffinity": {PREFERRED: [term]}})


def labelled(name: str, **spec: Any) -> dict[str, Any]:
    """One of several pods of an app."""
    pod = gpu_pod(name, {MEMORY: 10}, **spec)
    pod["metadata"]["labels"] = APP
    return pod


def test_a_preferred_node_is_taken_where_it_has_room(environment: Environment) -> None:
    """A pod without a preference goes where the policy wants it, before and after; a full node is passed over."""
    with Checker(environment.client) as checker:
        assert placed(environment, gpu_pod("before", {MEMORY: 10})) == "n1"
        assert placed(environment, preferring("elsewhere", "n3")) == "n3"
        assert placed(environment, gpu_pod("after", {MEMORY: 10})) == "n1"
        assert placed(environment, gpu_pod("large", {MEMORY: 80}, nodeSelector={HOST: "n0"})) == "n0"
        assert placed(environment, gpu_pod("larger", {MEMORY: 80}, nodeSelector={HOST: "n0"})) == "n0"
        assert placed(environment, preferring("late", "n0")) != "n0"
        assert checker.settle() == ()


def test_pods_that_prefer_to_be_apart_are_apart(environment: Environment) -> None:
    """By anti-affinity and by soft spread, though all would fit on one node; a fifth shares one."""
    term = {"weight": 100, "podAffinityTerm": {"topologyKey": HOST, "labelSelector": {"matchLabels": APP}}}
    apart = {"podAntiAffinity": {PREFERRED: [term]}}
    with Checker(environment.client) as checker:
        nodes = [placed(environment, labelled(f"apart-{at}", affinity=apart)) for at in range(len(NODES))]
        assert sorted(nodes) == [*NODES]
        assert placed(environment, labelled("fifth", affinity=apart)) in NODES
        assert checker.settle() == ()


def test_soft_spread_is_respected(environment: Environment) -> None:
    """`ScheduleAnyway` spreads as `DoNotSchedule` does, as long as there is room."""
    soft = {
        "maxSkew": 1,
        "topologyKey": HOST,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": APP},
    }
    nodes = [placed(environment, labelled(f"soft-{at}", topologySpreadConstraints=[soft])) for at in range(len(NODES))]
    assert sorted(nodes) == [*NODES]


def test_a_preference_is_weighed_among_the_best_few_only(backend: RealBackend) -> None:
    """As docs/pod-spec.md says: with --keep 2 the two nodes in use are answered, and an idle one is not reached."""
    environment = started(backend, "--keep", "2")
    try:
        assert placed(environment, preferring("second", "n2")) == "n2"
        assert placed(environment, preferring("idle", "n3")) in {"n1", "n2"}
    finally:
        environment.stop()
