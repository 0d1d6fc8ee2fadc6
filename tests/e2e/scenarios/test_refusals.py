"""Pods that fit nowhere: a readable reason, no hot loop, and a second chance within seconds when memory frees."""

import time

import pytest

from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, WHOLE, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]


def _fill(environment: Environment, nodes: int, units: int) -> None:
    """On each node's one A100 a pod of so many units."""
    for number in range(nodes):
        environment.add_hollow_node(MachineSpec(f"n{number}", gpus(a100=1)))
    wait_until(lambda: len(environment.extender_nodes()) == nodes, "the extender to know the nodes")
    for number in range(nodes):
        environment.client.create_pod(gpu_pod(f"there-{number}", {MEMORY: units}))
    for number in range(nodes):
        environment.wait_bound(f"there-{number}")
    environment.wait_ledger(nodes)


def test_a_delete_lets_a_waiting_pod_in(start: Start) -> None:
    """Refused by the extender because the free memory is split; retried at once when a pod goes (lesson 16)."""
    environment = start()
    environment.add_hollow_node(MachineSpec("n0", gpus(a100=2)))
    wait_until(lambda: len(environment.extender_nodes()) == 1, "the extender to know the node")
    for number in range(2):
        pod = gpu_pod(f"there-{number}", {MEMORY: 50}, annotations={"gpupack.io/policy": "spread"})
        environment.client.create_pod(pod)
        environment.wait_bound(f"there-{number}")
    environment.client.create_pod(gpu_pod("waits", {MEMORY: 40}))
    environment.wait_refused("waits", "1 GPU memory is free but split over several GPUs")
    # Out of kube-scheduler's first backoff, asleep until something wakes it.
    time.sleep(5)
    environment.client.delete_pod("there-0", grace_s=0)
    # Left to itself it would sleep for five minutes. That two seconds are enough is upkeep's test, on its own clock.
    environment.wait_bound("waits", timeout_s=30)


def test_a_full_cluster_says_so_in_the_pods_condition(start: Start) -> None:
    """The sentence that kubectl describe shows, per reason; whole GPUs are told apart from shares."""
    environment = start()
    _fill(environment, 3, 70)
    environment.client.create_pod(gpu_pod("whole", {WHOLE: 1}))
    environment.wait_refused("whole", "3 no idle GPU for a whole-GPU request")
    environment.client.create_pod(gpu_pod("model", {MEMORY: 4}, annotations={"gpupack.io/gpu-model": "H100*"}))
    environment.wait_refused("model", "3 no GPU of the requested model")
    environment.client.create_pod(gpu_pod("typo", {MEMORY: 4}, annotations={"gpupack.io/gpu-count": "two"}))
    environment.wait_refused("typo", "annotation gpupack.io/gpu-count is 'two', expected a number of GPUs")


def test_explain_has_the_numbers_that_the_reason_leaves_out(start: Start) -> None:
    """Per node and GPU: what is wanted, what is free, who has the rest."""
    environment = start()
    _fill(environment, 2, 70)
    environment.client.create_pod(gpu_pod("whole", {WHOLE: 1}))
    environment.wait_refused("whole")
    explained = environment.explain("whole")
    assert (explained["state"], explained["why"]) == ("pending", "no idle GPU for a whole-GPU request")
    assert explained["reasons"] == {"no idle GPU for a whole-GPU request": 2}
    whys = {gpu["why"] for node in explained["nodes"] for gpu in node["gpus"]}
    assert whys == {"10Gi of 80Gi free; a whole GPU needed"}
    bound = environment.explain("there-0")
    assert (bound["state"], bound["policy"], bound["gpus"][0]["units"]) == ("bound", "price-fit-robust", 70)


def test_trap_a_a_high_priority_pod_that_fits_nowhere_makes_no_hot_loop(start: Start) -> None:
    """With lower-priority pods on every node at most ten filter calls in fifteen seconds."""
    environment = start()
    _fill(environment, 20, 50)
    before = environment.calls("filter")
    environment.client.create_pod(gpu_pod("important", {WHOLE: 1}, priorityClassName="system-cluster-critical"))
    environment.wait_refused("important")
    time.sleep(15)
    assert environment.calls("filter") - before <= 10
