"""Hundreds of pods at once, and an extender that is killed or frozen in the middle: nothing lost, nothing double."""

import random
import time
from collections.abc import Callable

import pytest

from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.checker import Checker
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, Environment, gpus

PODS = 300
SIZES = (2, 3, 4, 6, 8, 10, 15, 20, 40)

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(900)]


def _units(pods: int) -> list[int]:
    return random.Random(11).choices(SIZES, k=pods)


def _cluster(start: Start) -> Environment:
    environment = start()
    for number in range(10):
        environment.add_hollow_node(MachineSpec(f"n{number}", gpus(a100=4, t4=4), pods=200))
    # kube-scheduler and the extender learn of the nodes from their watches.
    wait_until(lambda: len(environment.extender_nodes()) == 10, "the extender to know ten nodes")
    return environment


def _submit(environment: Environment, sizes: list[int], first: int = 0) -> None:
    for number, units in enumerate(sizes, start=first):
        environment.client.create_pod(gpu_pod(f"burst-{number}", {MEMORY: units}))


def _more_than(checker: Checker, pods: int) -> Callable[[], bool]:
    return lambda: checker.bound() > pods


def _wait_settled(environment: Environment, sizes: list[int], timeout_s: float) -> None:
    """Wait until every pod is bound, or fits on no GPU any more."""

    def settled() -> bool:
        pods = environment.client.pods("default")
        bound = sum(bool(pod["spec"].get("nodeName")) for pod in pods)
        if bound == len(sizes):
            return True
        nodes = environment.extender_nodes()
        holders = {holder["uid"] for node in nodes for gpu in node["gpus"] for holder in gpu["holders"]}
        largest = max(gpu["free"] for node in nodes for gpu in node["gpus"])
        waiting = [
            sizes[int(pod["metadata"]["name"].rpartition("-")[2])] for pod in pods if not pod["spec"].get("nodeName")
        ]
        return len(holders) == bound and min(waiting) > largest

    wait_until(settled, "all that fits to be bound", timeout_s=timeout_s)


def test_a_burst_of_mixed_sizes_fills_the_cluster_and_overbooks_nothing(start: Start) -> None:
    """Everything that fits is bound, no GPU is over capacity at any instant, and no bind fails for lack of room."""
    environment = _cluster(start)
    sizes = _units(PODS)
    with Checker(environment.client) as checker:
        _submit(environment, sizes)
        _wait_settled(environment, sizes, timeout_s=300)
        environment.wait_ledger(sum(bool(pod["spec"].get("nodeName")) for pod in environment.client.pods("default")))
        assert checker.settle() == ()
    assert environment.calls("bind", "error") == 0
    assert environment.calls("bind", "ok") >= 250


def test_five_kills_in_the_middle_of_a_burst_lose_and_double_nothing(start: Start) -> None:
    """SIGKILL leaves each Binding written or not; the next process reads what is."""
    environment = _cluster(start)
    sizes = _units(PODS)

    with Checker(environment.client) as checker:
        _submit(environment, sizes)
        for kill in range(1, 6):
            # Each process gets some work done, so that each is killed in the middle of binds.
            wait_until(_more_than(checker, 35 * kill), "more pods to be bound", timeout_s=120)
            environment.extender.kill()
            environment.extender.start()
        _wait_settled(environment, sizes, timeout_s=300)
        assert checker.settle() == ()
        assert len(environment.client.pods("default")) == PODS


def test_a_frozen_extender_thaws_into_a_true_view(start: Start) -> None:
    """Thirty seconds of SIGSTOP in the middle of a burst: calls time out, nothing is given out twice."""
    environment = _cluster(start)
    sizes = _units(PODS)
    with Checker(environment.client) as checker:
        _submit(environment, sizes[: PODS // 2])
        environment.extender.freeze()
        time.sleep(30)
        environment.extender.thaw()
        _submit(environment, sizes[PODS // 2 :], first=PODS // 2)
        _wait_settled(environment, sizes, timeout_s=300)
        assert checker.settle() == ()
