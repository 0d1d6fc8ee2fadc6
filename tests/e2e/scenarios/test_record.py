"""What was decided on a pod can be read afterwards: as Events on it, and from `explain`."""

import pytest

from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]


def _told(environment: Environment, pod: str) -> dict[str, str]:
    """The sentence of each of the extender's Events on a pod, by reason."""
    events = environment.client.events_of(pod)
    return {event["reason"]: event["message"] for event in events if event["reason"].startswith("Gpupack")}


def test_a_placement_and_a_refusal_are_told_on_the_pods_and_read_back(start: Start) -> None:
    """The first pod takes the one GPU; the second is told why it waits, and where it went when there is room."""
    environment = start()
    environment.add_hollow_node(MachineSpec("n0", gpus(a100=1)))
    environment.add_hollow_node(MachineSpec("n1", gpus(a100=2)))
    wait_until(lambda: len(environment.extender_nodes()) == 2, "the extender to know the nodes")
    for name, units in (("a", 50), ("b", 50), ("c", 50)):
        environment.client.create_pod(gpu_pod(name, {MEMORY: units}))
        environment.wait_bound(name)
    environment.client.create_pod(gpu_pod("waits", {MEMORY: 31}))
    environment.wait_refused("waits")
    wait_until(lambda: _told(environment, "waits"), "the refusal to be told")
    refusals = environment.client.events_of("waits")
    assert [event["count"] for event in refusals if event["reason"] == "GpupackUnplaceable"] == [1]
    decided = environment.explain("waits")["decision"]
    assert (decided["verdict"], decided["rejected"]) == (
        "rejected",
        {"GPU memory is free but split over several GPUs": 1},
    )
    environment.client.delete_pod("a", grace_s=0)
    environment.wait_bound("waits")
    wait_until(lambda: len(_told(environment, "waits")) == 2, "the placement to be told")
    answer = environment.explain("waits")
    # In between it may be refused for another reason: kube-scheduler can see the room before the extender does.
    verdicts = [each["verdict"] for each in answer["decisions"]]
    assert (verdicts[0], verdicts[-1], set(verdicts)) == ("rejected", "bound", {"rejected", "bound"})
    (gpu,) = answer["decision"]["gpus"]["main"]
    assert f"main gets 31 GiB of {gpu} on {answer['node']}." in _told(environment, "waits")["GpupackPlaced"]
