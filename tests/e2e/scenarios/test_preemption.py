"""What evictions empty goes to the pod that they are for, however long the evicted pods take to end.

The nodes have no kubelets: a pod that is evicted terminates until the test lets it end.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bench.simulated.client import FailureStatusError
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.checker import Checker
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]
WAITING = "pods that were evicted for this one still hold their memory"
SPLIT = "GPU memory is free but split over several GPUs"


def _cluster(start: Start, gpus_of_node: int) -> Environment:
    """One node, packed GPU by GPU."""
    environment = start(extender_arguments=("--policy", "binpack"))
    for name, value in (("medium", 100), ("high", 1000)):
        body = {"metadata": {"name": name}, "value": value}
        try:
            environment.client.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
        except FailureStatusError as error:
            if error.status != 409:  # an earlier scenario has made it
                raise
    environment.add_hollow_node(MachineSpec("n", gpus(a100=gpus_of_node)))
    wait_until(lambda: len(environment.extender_nodes()) == 1, "the extender to know the node")
    environment.wait_scheduler_knows_nodes()
    return environment


def _run(environment: Environment, name: str, units: int, priority: str = "") -> None:
    """A pod that is bound, on the fullest GPU that takes it."""
    spec: dict[str, Any] = {"priorityClassName": priority} if priority else {}
    environment.client.create_pod(gpu_pod(name, {MEMORY: units}, **spec))
    environment.wait_bound(name)


def _preempts(environment: Environment, pods: int, victims: set[str]) -> None:
    """Pod p asks for all of a GPU and is nominated: these pods are evicted for it, and the extender has seen that."""
    environment.wait_ledger(pods)
    environment.client.create_pod(gpu_pod("p", {MEMORY: 80}, priorityClassName="high"))
    environment.client.wait_for_pod("p", _is_nominated, "to be nominated")
    wait_until(lambda: _terminating(environment) == victims, f"{sorted(victims)} to be evicted")
    wait_until(lambda: _claimed(environment) == 80, "the extender to keep a GPU for p")


def _is_nominated(pod: Mapping[str, Any]) -> bool:
    return bool(pod["status"].get("nominatedNodeName") == "n")


def _claimed(environment: Environment) -> int:
    return sum(gpu["claimed"] for node in environment.extender_nodes() for gpu in node["gpus"])


def _terminating(environment: Environment) -> set[str]:
    pods = environment.client.pods("default")
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]}


def _end(environment: Environment, name: str) -> None:
    """The kubelet reports that it has ended."""
    environment.client.delete_pod(name, grace_s=0)
    environment.client.wait_gone(name)


def _is_bound(environment: Environment, name: str) -> bool:
    pod = environment.client.pod(name)
    return pod is not None and bool(pod["spec"].get("nodeName"))


def test_a_pod_waits_for_its_slowest_victim(start: Start) -> None:
    """One ends at once and d slowly: nobody gets what it left, nobody else is evicted, p is placed when d is gone."""
    environment = _cluster(start, 2)
    with Checker(environment.client) as checker:
        for name, units, priority in (("a", 60, ""), ("d", 15, ""), ("b", 50, "medium"), ("c", 10, "medium")):
            _run(environment, name, units, priority)
        _preempts(environment, 4, {"a", "d"})
        _end(environment, "a")
        environment.client.create_pod(gpu_pod("low", {MEMORY: 40}))
        environment.wait_refused("low")
        environment.wait_refused("p", WAITING)
        assert _terminating(environment) == {"d"}
        assert _is_nominated(environment.client.pod("p") or {})
        _end(environment, "d")
        environment.wait_bound("p")
        assert not _is_bound(environment, "low")
        assert {name for name in "bc" if environment.client.pod(name) is not None} == {"b", "c"}
        assert checker.settle() == ()


def _nothing(_environment: Environment) -> None:
    """The extender lives on."""


def _restart(environment: Environment) -> None:
    """The extender is killed, and knows nothing but what the API server tells."""
    environment.extender.kill()
    environment.extender.start()


@pytest.mark.parametrize("meanwhile", [_nothing, _restart])
def test_the_emptied_gpu_is_kept_for_the_nominated_pod(start: Start, meanwhile: Callable[[Environment], None]) -> None:
    """A small pod fits beside the pod that is being evicted, and nowhere else: it has to wait."""
    environment = _cluster(start, 3)
    with Checker(environment.client) as checker:
        for name, units, priority in (("x", 65, "medium"), ("y", 65, "medium"), ("a", 60, "")):
            _run(environment, name, units, priority)
        _preempts(environment, 3, {"a"})
        meanwhile(environment)
        environment.client.create_pod(gpu_pod("s", {MEMORY: 20}))
        environment.wait_refused("s")
        wait_until(lambda: _claimed(environment) == 80, "the extender to keep a GPU for p")
        _end(environment, "a")
        environment.wait_bound("p")
        environment.wait_refused("s", SPLIT)  # kube-scheduler's own account has room for it now
        assert not _is_bound(environment, "s")
        assert checker.settle() == ()
