"""Pods and nodes that go and come back: memory is free exactly when nobody has it any more."""

import json

import pytest

from bench.simulated.kubelet.kubelet import KubeletSettings
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, NAMES, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]


def _used(environment: Environment) -> int:
    return sum(gpu["allocated"] + gpu["held"] for node in environment.extender_nodes() for gpu in node["gpus"])


def _free(environment: Environment) -> list[int]:
    return [gpu["free"] for node in environment.extender_nodes() for gpu in node["gpus"]]


def test_lesson_07_force_delete_and_recreate_under_the_same_name_leaks_nothing(start: Start) -> None:
    """Forty times the same name; every time another UID, and in the end one pod's memory."""
    environment = start()
    environment.add_hollow_node(MachineSpec("n0", gpus(a100=1)))
    wait_until(lambda: len(environment.extender_nodes()) == 1, "the extender to know the node")
    for _ in range(40):
        environment.client.create_pod(gpu_pod("again", {MEMORY: 8}))
        environment.wait_bound("again")
        environment.client.delete_pod("again", grace_s=0)
    environment.client.create_pod(gpu_pod("again", {MEMORY: 8}))
    environment.wait_bound("again")
    wait_until(lambda: _used(environment) == 8, "one pod's memory to be in use")


def test_lesson_05_a_terminating_pod_holds_its_memory_until_it_has_stopped(start: Start) -> None:
    """DeletionTimestamp frees nothing; the end of the containers does."""
    environment = start(kubelet=KubeletSettings(stop_s=10.0))
    environment.add_node(MachineSpec("n0", gpus(t4=1)))
    environment.client.create_pod(gpu_pod("old", {MEMORY: 15}))
    environment.client.wait_for_phase("old", "Running")
    environment.client.delete_pod("old", grace_s=30)
    environment.client.create_pod(gpu_pod("new", {MEMORY: 15}))
    environment.wait_refused("new")
    old = environment.client.pod("old")
    assert old is not None
    assert old["metadata"]["deletionTimestamp"]
    assert _used(environment) == 15
    environment.client.wait_gone("old")
    environment.client.wait_for_phase("new", "Running")


def test_lesson_10_a_node_that_comes_back_with_other_gpus_starts_empty(start: Start) -> None:
    """No ghost usage of GPUs that are gone, and no pod on a node that is away."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(a100=2)))
    environment.client.create_pod(gpu_pod("before", {MEMORY: 50}))
    environment.client.wait_for_phase("before", "Running")
    environment.remove_node("n0")
    wait_until(lambda: environment.extender_nodes() == [], "the node to be gone")
    environment.add_node(MachineSpec("n0", gpus(a100=1)), generation=1)
    wait_until(
        lambda: [gpu["free"] for node in environment.extender_nodes() for gpu in node["gpus"]] == [80], "80 free"
    )
    environment.client.create_pod(gpu_pod("after", {MEMORY: 80}))
    environment.client.wait_for_phase("after", "Running")


def test_a_pod_bound_by_hand_is_charged_and_then_found(start: Start) -> None:
    """Charged to the emptiest GPU at once, then where the kubelet really put it."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(t4=2)))
    environment.client.create_pod(gpu_pod("by-hand", {MEMORY: 10}, schedulerName="nobody"))
    environment.client.bind_pod("by-hand", "n0")
    pod = environment.client.wait_for_pod(
        "by-hand", lambda pod: NAMES.allocated_annotation in pod["metadata"].get("annotations", {}), "to be found"
    )
    placed = json.loads(pod["metadata"]["annotations"][NAMES.allocated_annotation])["containers"]["main"]
    devices = node.kubelet.devices_of(pod)["main"][MEMORY]
    assert {device.rpartition("-")[0] for device in devices} == set(placed)

    def charged() -> bool:
        found = {gpu["uuid"]: gpu["allocated"] for gpu in environment.extender_nodes()[0]["gpus"] if gpu["allocated"]}
        return bool(found == placed)

    wait_until(charged, "the ledger to charge that GPU")


def test_lesson_18_an_unhealthy_gpu_is_not_given_out_and_comes_back(start: Start) -> None:
    """Out within seconds, its pods stay, and back again when it is well."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(t4=2)))
    environment.client.create_pod(gpu_pod("stays", {MEMORY: 4}))
    environment.client.wait_for_phase("stays", "Running")
    node.set_unhealthy([0, 1])
    wait_until(
        lambda: not any(gpu["healthy"] for gpu in environment.extender_nodes()[0]["gpus"]), "both GPUs to be unhealthy"
    )
    environment.client.create_pod(gpu_pod("waits", {MEMORY: 4}))
    environment.wait_refused("waits")
    node.set_unhealthy([])
    environment.client.wait_for_phase("waits", "Running", timeout_s=30)
    stays = environment.client.pod("stays")
    assert stays is not None
    assert stays["status"]["phase"] == "Running"


def test_lesson_13_what_a_tenant_writes_hides_nothing(start: Start) -> None:
    """Forged annotations on a new pod change neither where it goes nor what it is charged."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(t4=1)))
    forged = '{"version":1,"unitMib":1024,"containers":{"main":{"GPU-elsewhere":1}}}'
    annotations = {NAMES.allocation_annotation: forged, NAMES.allocated_annotation: forged}
    environment.client.create_pod(gpu_pod("liar", {MEMORY: 15}, annotations=annotations))
    environment.client.wait_for_phase("liar", "Running")
    wait_until(lambda: _used(environment) == 15, "15 units to be charged")
    environment.client.create_pod(gpu_pod("second", {MEMORY: 1}))
    environment.wait_refused("second")


def test_lesson_13_a_forged_report_of_the_kubelet_does_not_survive_the_bind(start: Start) -> None:
    """The right amount on another real GPU: charged where the extender put it, all the same."""
    environment = start()
    spec = MachineSpec("n0", gpus(t4=2))
    environment.add_hollow_node(spec)
    wait_until(lambda: len(environment.extender_nodes()) == 1, "the extender to know the node")
    first, second = (gpu.uuid for gpu in spec.inventory().gpus)
    environment.client.create_pod(gpu_pod("there", {MEMORY: 5}))
    environment.wait_bound("there")
    forged = f'{{"version":1,"unitMib":1024,"containers":{{"main":{{"{second}":10}}}}}}'
    environment.client.create_pod(gpu_pod("liar", {MEMORY: 10}, annotations={NAMES.allocated_annotation: forged}))
    environment.wait_bound("liar")
    environment.wait_ledger(2)
    found = {gpu["uuid"]: gpu["allocated"] for gpu in environment.extender_nodes()[0]["gpus"]}
    assert found == {first: 15, second: 0}
