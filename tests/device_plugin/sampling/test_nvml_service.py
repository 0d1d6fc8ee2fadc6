"""The whole plugin over the real NVML binding: XIDs reach the kubelet at once, limits are claimed where proven."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.nvml.driver import Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.settings import Safeguards
from tests.device_plugin.test_service import MEMORY, WHOLE, Cluster, Running, said
from tests.fakes.cuda import build_cuda
from tests.fakes.mps_control import FakeMpsDaemon

CORE = "gpupack.io/gpu-core"


@pytest.fixture
def cluster(folder: Path, driver: SimulatedDriver) -> Iterator[Cluster]:
    """A node whose two GPUs are the driver's, with a cgroup v2 mount."""
    driver.state.driver_version = b"615.12.03"
    for _ in range(2):
        driver.add(Model())
    (folder / "cgroup").mkdir()
    (folder / "cgroup" / "cgroup.controllers").write_text("memory dmem")
    guards = Safeguards(cgroup_root=folder / "cgroup", probation_s=0.2, ignored_xids=frozenset({119}))
    with ApiServer() as server:
        found = Cluster(folder, server)
        found.settings = replace(found.settings, gpus="nvml", sample_interval_s=120.0, safeguards=guards)
        with found.kubelet:
            yield found
        found.client.close()


def test_an_xid_reaches_the_kubelet_without_waiting_for_the_next_look(
    cluster: Cluster, driver: SimulatedDriver
) -> None:
    """Two minutes away; as one list per resource, and as an Event on the node. The benchmark has the time it takes."""
    uuid = driver.gpus[0].uuid.decode()
    with Running(cluster.settings) as plugin:
        until(lambda: plugin.get("/readyz")[0] == 200)
        for resource in (WHOLE, MEMORY):
            cluster.kubelet.wait_listed(resource)
        until(lambda: driver.state.registrations >= 2)
        # An application's error, and one that the admin ignores, are no news.
        for xid in (13, 119):
            driver.raise_xid(xid, 0)
        driver.raise_xid(79, 0)
        lists = cluster.kubelet.wait_listed(WHOLE, 2)
        assert (lists[0][uuid], lists[1][uuid]) == ("Healthy", "Unhealthy")
        cluster.kubelet.wait_listed(MEMORY, 2)
        until(lambda: any(reason == "GPUUnhealthy" and "XID 79" in text for reason, text in said(cluster, "n1")))
        assert len(lists) == 2
        assert [len(plugin.lists) for name, plugin in cluster.kubelet.plugins.items() if name == MEMORY] == [2]


def test_a_driver_with_limits_is_used_and_said_to_be(cluster: Cluster, driver: SimulatedDriver) -> None:
    """In the inventory and in the container; an older driver is not."""
    uuid = driver.gpus[1].uuid.decode()
    with Running(cluster.settings):
        until(lambda: [gpu.get("enforcement") for gpu in cluster.inventory()] == ["driver"] * 2)
        cluster.kubelet.wait_listed(MEMORY)
        cluster.bind("p", {"main": {uuid: 8}})
        _, answer = cluster.kubelet.admit("p", MEMORY, 8)
        assert (answer.envs["GPUPACK_ENFORCEMENT"], answer.envs["NVIDIA_GPU_MEMORY_LIMIT"]) == ("driver", "8192")
        assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in answer.envs
    driver.state.driver_version = b"580.95.05"
    with Running(cluster.settings):
        until(lambda: "driver" not in [gpu.get("enforcement") for gpu in cluster.inventory()])


def test_memory_that_no_process_accounts_for_is_not_offered(cluster: Cluster, driver: SimulatedDriver) -> None:
    """Neither what the driver lists no process for, nor what a process in another PID namespace has."""
    driver.gpus[0].used_bytes = 12288 * 1024 * 1024
    driver.gpus[1].run(4_000_000, 12288)
    with Running(cluster.settings):
        until(lambda: [gpu.get("outsideMib") for gpu in cluster.inventory()] == [12288] * 2)


def test_compute_is_held_to_where_mps_was_seen_to_hold(
    cluster: Cluster, driver: SimulatedDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon answers at once; the rung is claimed after a client of ours was limited on each GPU."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build_cuda(tmp_path / "cuda")))
    daemon = FakeMpsDaemon(tmp_path)
    driver.state.driver_version = b"580.95.05"
    guards = replace(
        cluster.settings.safeguards, mps_pipe_directory=daemon.pipe_directory, mps_control=str(daemon.program)
    )
    uuid = driver.gpus[1].uuid.decode()
    with Running(replace(cluster.settings, safeguards=guards)):
        until(lambda: [gpu.get("coreEnforcement") for gpu in cluster.inventory()] == ["mps"] * 2)
        cluster.kubelet.wait_listed(CORE)
        container = {"name": "main", "image": "x", "resources": {"limits": {MEMORY: "8", CORE: "30"}}}
        cluster.client.create_pod({"metadata": {"name": "p"}, "spec": {"containers": [container]}})
        plan = f'{{"version":1,"unitMib":1024,"containers":{{"main":{{"{uuid}":8}}}}}}'
        cluster.client.bind_pod("p", "n1", annotations={"gpupack.io/allocation": plan})
        ids, compute = cluster.kubelet.admit("p", CORE, 30)
        _, memory = cluster.kubelet.admit("p", MEMORY, 8)
    assert {each.rpartition("-c")[0] for each in ids} == {uuid}
    assert (compute.envs["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"], compute.envs["GPUPACK_GPU_CORE_ENFORCEMENT"]) == (
        "30",
        "mps",
    )
    assert memory.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == f"{uuid}=8192M"
    # The kubelet merges both answers and complains where they differ.
    assert all(memory.envs.get(name, value) == value for name, value in compute.envs.items())
    assert list(memory.mounts) == list(compute.mounts)
