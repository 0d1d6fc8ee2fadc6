"""The whole plugin over MIG devices: what the kubelet is told follows every change of them, and pods get theirs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.nvml.driver import Model, SimulatedDriver
from bench.simulated.nvml.slicing import slice_uuid
from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.remembering import UNSEEN
from device_plugin.settings import MigStrategy, Safeguards
from tests.device_plugin.test_service import MEMORY, WHOLE, Cluster, Running, said

A, B = (f"GPU-0000000{number}-0000-4000-8000-000000000000" for number in range(2))
SEVEN, EIGHT = (slice_uuid(A, gi, 0) for gi in (7, 8))


@pytest.fixture
def cluster(folder: Path, driver: SimulatedDriver) -> Iterator[Cluster]:
    """A node with a GPU in MIG mode and another one."""
    driver.add(Model("NVIDIA A100-SXM4-40GB", 40960, 600))
    driver.add(Model())
    driver.slice(0, ["1g.5gb", "1g.5gb"])
    guards = Safeguards(probation_s=0.0)
    with ApiServer() as server:
        found = Cluster(folder, server)
        found.settings = replace(
            found.settings, gpus="nvml", mig=MigStrategy.SLICES, sample_interval_s=0.1, safeguards=guards
        )
        with found.kubelet:
            yield found
        found.client.close()


def listed(cluster: Cluster, count: int) -> dict[str, str]:
    """The newest list of whole GPUs, of so many lists."""
    return dict(cluster.kubelet.wait_listed(WHOLE, count)[-1])


def test_a_pod_on_a_mig_device_is_told_it(cluster: Cluster) -> None:
    """The kubelet's IDs, the container's environment, and the inventory say the same."""
    with Running(cluster.settings):
        assert listed(cluster, 1) == dict.fromkeys((SEVEN, EIGHT, B), "Healthy")
        cluster.bind("p", {"main": {SEVEN: 3}})
        ids, answer = cluster.kubelet.admit("p", MEMORY, 3)
        until(lambda: len(cluster.inventory()) == 3)
        inventory = cluster.inventory()
    assert {each.rpartition("-")[0] for each in ids} == {SEVEN}
    assert answer.envs["NVIDIA_VISIBLE_DEVICES"] == SEVEN
    assert [(gpu["index"], gpu.get("mig", {}).get("profile")) for gpu in inventory] == [
        (0, "1g.5gb"),
        (0, "1g.5gb"),
        (1, None),
    ]


def test_the_kubelets_list_follows_the_mig_devices(cluster: Cluster, driver: SimulatedDriver) -> None:
    """Another size under the same UUID is another number of units; a GPU is one device again."""
    with Running(cluster.settings):
        units = cluster.kubelet.wait_listed(MEMORY)[0]
        driver.slice(0, ["1g.10gb"])
        resliced = cluster.kubelet.wait_listed(MEMORY, 2)[1]
        driver.gpus[0].mig = 0
        whole = listed(cluster, 3)
    assert [sum(each.startswith(SEVEN) for each in found) for found in (units, resliced)] == [4, 9]
    assert [sum(each.startswith(EIGHT) for each in found) for found in (units, resliced)] == [4, 0]
    assert whole == dict.fromkeys((A, B), "Healthy")


def test_a_pod_keeps_its_destroyed_mig_device_in_sight(cluster: Cluster, driver: SimulatedDriver) -> None:
    """Unhealthy, with an Event, until the pod is gone."""
    with Running(cluster.settings):
        cluster.kubelet.wait_listed(MEMORY)
        cluster.bind("p", {"main": {EIGHT: 3}})
        cluster.kubelet.admit("p", MEMORY, 3)
        until(lambda: "gpupack.io/allocated" in (cluster.client.pod("p") or {})["metadata"]["annotations"])
        driver.destroy(0, 1)
        driver.destroy(0, 0)
        why = "the MIG device was destroyed"
        until(lambda: [gpu.get("reason") for gpu in cluster.inventory()] == [why, None])
        until(lambda: any(reason == "GPUUnhealthy" and why in text for reason, text in said(cluster, "n1")))
        cluster.client.delete_pod("p", grace_s=0)
        until(lambda: [gpu["uuid"] for gpu in cluster.inventory()] == [B])


@pytest.mark.parametrize("is_removed", [False, True])
def test_what_a_pod_has_stays_in_sight_over_a_restart(
    cluster: Cluster,
    driver: SimulatedDriver,
    is_removed: bool,  # noqa: FBT001 - a table of cases
) -> None:
    """A MIG device that was destroyed, or a GPU that was removed, while no plugin ran; until the pod is gone."""
    place = B if is_removed else EIGHT
    with Running(cluster.settings):
        cluster.kubelet.wait_listed(MEMORY)
        cluster.bind("p", {"main": {place: 3}})
        cluster.kubelet.admit("p", MEMORY, 3)
        until(lambda: "gpupack.io/allocated" in (cluster.client.pod("p") or {})["metadata"]["annotations"])
    before = {gpu["uuid"]: gpu for gpu in cluster.inventory()}
    if is_removed:
        driver.remove(1)
    else:
        driver.destroy(0, 1)
    with Running(cluster.settings) as plugin:
        until(lambda: plugin.get("/readyz")[0] == 200)
        lost = {"healthy": False, "reason": UNSEEN}
        assert {gpu["uuid"]: gpu for gpu in cluster.inventory()} == {**before, place: {**before[place], **lost}}
        until(lambda: any(reason == "GPUUnhealthy" and UNSEEN in text for reason, text in said(cluster, "n1")))
        cluster.client.delete_pod("p", grace_s=0)
        until(lambda: {gpu["uuid"] for gpu in cluster.inventory()} == before.keys() - {place})
