"""The whole plugin over a driver that hangs, does not start or is let go: it offers nothing and says so."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.nvml.driver import DRIVER_NOT_LOADED, UNKNOWN, Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.devices import unit_id
from device_plugin.gpus.gpu import CLOSED, NO_ANSWER
from device_plugin.sampling.nvml import NO_GPU
from device_plugin.sampling.yielding import USED_AGAIN
from device_plugin.settings import Safeguards
from extender.contract.units import GpuUuid
from tests.device_plugin.test_service import MEMORY, WHOLE, Cluster, Running, said

VERSION_MISMATCH = 18
"""NVML_ERROR_LIB_RM_VERSION_MISMATCH: the library is not that of the kernel module, as after an upgrade."""

LIMIT_S = 0.5
GRACE_S = 30.0
"""terminationGracePeriodSeconds, which the manifests leave at its default."""


@pytest.fixture
def cluster(folder: Path, driver: SimulatedDriver) -> Iterator[Cluster]:
    """A node whose two GPUs are the driver's."""
    for _ in range(2):
        driver.add(Model())
    with ApiServer() as server:
        found = Cluster(folder, server)
        guards = Safeguards(
            cgroup_root=folder, probation_s=1.0, probe_interval_s=0.2, driver_timeout_s=LIMIT_S, restart_after_s=1.0
        )
        found.settings = replace(found.settings, gpus="nvml", measure_interval_s=0.2, safeguards=guards)
        with found.kubelet:
            yield found
        driver.release()
        found.client.close()


def reasons(cluster: Cluster) -> list[str]:
    """Why each GPU of the inventory is not offered."""
    return [gpu.get("reason", "") for gpu in cluster.inventory()]


def stalled(plugin: Running) -> dict[str, bool]:
    """Whose calls the metrics show to be overdue."""
    lines = [line for line in plugin.get("/metrics")[1].splitlines() if line.startswith("gpupack_plugin_driver_st")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) > 0 for line in lines}


def test_a_health_query_that_never_returns_takes_the_gpus_out_until_it_does(
    cluster: Cluster, driver: SimulatedDriver
) -> None:
    """At the kubelet, in the inventory, in Events, in readiness and in a metric; Allocate and the endpoints answer."""
    with Running(cluster.settings) as plugin:
        until(lambda: plugin.get("/readyz")[0] == 200)
        cluster.kubelet.wait_listed(WHOLE)
        uuid = driver.gpus[0].uuid.decode()
        cluster.bind("p", {"main": {uuid: 8}})
        driver.hang(0, "MEMORY_V2")
        until(lambda: reasons(cluster) == [NO_ANSWER] * 2)
        assert set(cluster.kubelet.wait_listed(WHOLE, 2)[-1].values()) == {"Unhealthy"}
        status, text = plugin.get("/readyz")
        assert (status, f"gpus: {NO_ANSWER}" in text) == (503, True)
        assert plugin.get("/healthz")[0] == 200, "a new container would not help"
        until(lambda: stalled(plugin) == {"sampler": True, "meter": True, "enforcer": False})
        until(lambda: [gpu["enforcement"] for gpu in cluster.inventory()] == ["advisory"] * 2)
        # As the kubelet calls for a pod that it has begun to admit.
        with pytest.raises(grpc.RpcError, match=f"is unhealthy: {NO_ANSWER}"):
            cluster.kubelet.allocate(MEMORY, [unit_id(GpuUuid(uuid), number) for number in range(8)])
        until(lambda: any(reason == "GPUUnhealthy" and NO_ANSWER in text for reason, text in said(cluster, "n1")))
        driver.release()
        until(lambda: reasons(cluster) == [f"on probation for 1 s after: {NO_ANSWER}"] * 2)
        until(lambda: reasons(cluster) == [""] * 2)
        until(lambda: plugin.get("/readyz")[0] == 200)
        assert stalled(plugin) == dict.fromkeys(("sampler", "meter", "enforcer"), False)


def test_a_measurement_that_never_returns_costs_only_what_it_measures(
    cluster: Cluster, driver: SimulatedDriver
) -> None:
    """The GPUs are well and offered, and nobody claims to watch them."""
    with Running(cluster.settings) as plugin:
        until(lambda: [gpu.get("enforcement") for gpu in cluster.inventory()] == ["watched"] * 2)
        driver.hang(1, "POWER")
        until(lambda: [gpu.get("enforcement") for gpu in cluster.inventory()] == ["advisory"] * 2)
        assert reasons(cluster) == [""] * 2
        assert plugin.get("/readyz") == (503, "driver: calls into the driver have not returned for a while: meter\n")
        driver.release()
        until(lambda: [gpu.get("enforcement") for gpu in cluster.inventory()] == ["watched"] * 2)
        assert plugin.get("/readyz")[0] == 200


@pytest.mark.parametrize("call", ["INIT", "COUNT"])
def test_a_driver_that_hangs_from_the_start_is_waited_for(cluster: Cluster, driver: SimulatedDriver, call: str) -> None:
    """Nothing is registered, and it is said why."""
    driver.hang(None, call)
    with Running(cluster.settings) as plugin:
        until(lambda: f"gpus: {NO_ANSWER}" in plugin.get("/readyz")[1])
        assert (cluster.inventory(), cluster.kubelet.plugins) == ([], {})
        driver.release()
        until(lambda: plugin.get("/readyz")[0] == 200)
        assert reasons(cluster) == [""] * 2


def test_a_measurement_that_hangs_from_the_start_does_not_keep_the_gpus_from_the_kubelet(
    cluster: Cluster, driver: SimulatedDriver
) -> None:
    """It is waited for no longer than a call may take."""
    driver.hang(0, "POWER")
    with Running(cluster.settings):
        cluster.kubelet.wait_listed(WHOLE)
        until(lambda: cluster.has_inventory([True, True]))
        driver.release()


@pytest.mark.parametrize("call", ["MEMORY_V2", "POWER", "CAPABILITY"])
def test_the_process_ends_in_time_while_a_call_hangs(cluster: Cluster, driver: SimulatedDriver, call: str) -> None:
    """With 0, as at any SIGTERM."""
    settings = cluster.settings
    environment = {
        "GPUPACK_NODE_NAME": "n1",
        "GPUPACK_KUBECONFIG": str(settings.kubeconfig),
        "GPUPACK_KUBELET_DIR": str(settings.kubelet_dir),
        "GPUPACK_PODRESOURCES_SOCKET": str(settings.podresources_socket),
        "GPUPACK_LISTEN": "127.0.0.1:0",
        "GPUPACK_MEASURE_INTERVAL_S": "0.2",
        "GPUPACK_DRIVER_TIMEOUT_S": "2",
        **driver.environment(),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "device_plugin"], env=os.environ | environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            until(lambda: cluster.has_inventory([True, True]))
            driver.hang(0, call)
            if call != "CAPABILITY":
                until(lambda: driver.state.hanging >= 1)
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            log = process.stderr.read()
            assert process.wait(GRACE_S) == 0, log
            assert time.monotonic() - began_s < GRACE_S - 5.0
        finally:
            process.kill()
    # They ended with the process.
    driver.state.sessions = 0


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("INIT", DRIVER_NOT_LOADED, "NVML cannot start: Driver Not Loaded; load the NVIDIA kernel module"),
        ("INIT", VERSION_MISMATCH, "NVML cannot start: "),
        ("COUNT", UNKNOWN, "NVML cannot count the GPUs: "),
    ],
)
def test_a_library_that_does_not_start_asks_for_a_new_container_after_a_while(
    cluster: Cluster, driver: SimulatedDriver, call: str, code: int, words: str
) -> None:
    """The new one may have another library and other devices; this one goes on trying."""
    driver.fail(None, call, code)
    with Running(cluster.settings) as plugin:
        assert plugin.get("/healthz")[0] == 200
        until(lambda: plugin.get("/healthz")[0] == 500)
        assert plugin.get("/healthz")[1].startswith(f"GPUs could not be read for 1 s, a new container may: {words}")
        driver.fail(None, call, 0)
        until(lambda: plugin.get("/healthz")[0] == 200)
        until(lambda: plugin.get("/readyz")[0] == 200)


def test_an_admin_may_turn_that_off(cluster: Cluster, driver: SimulatedDriver) -> None:
    """Where no container would help."""
    guards = replace(cluster.settings.safeguards, restart_after_s=0.0)
    driver.fail(None, "INIT", DRIVER_NOT_LOADED)
    with Running(replace(cluster.settings, safeguards=guards)) as plugin:
        threading.Event().wait(1.5)
        assert plugin.get("/healthz")[0] == 200


@pytest.mark.parametrize("is_running", [True, False])
def test_a_node_on_which_no_gpu_is_visible_is_not_ready(
    cluster: Cluster,
    driver: SimulatedDriver,
    is_running: bool,  # noqa: FBT001 - a case
) -> None:
    """Before it is started or while it runs; another container may have the device files that this one lacks."""
    driver.state.gpu_count = 0 if not is_running else 2
    with Running(cluster.settings) as plugin:
        if is_running:
            until(lambda: plugin.get("/readyz")[0] == 200)
            driver.state.gpu_count = 0
        until(lambda: plugin.get("/readyz")[0] == 503 and f"gpus: {NO_GPU}" in plugin.get("/readyz")[1])
        until(lambda: plugin.get("/healthz")[0] == 500)
        assert {gpu["healthy"] for gpu in cluster.inventory()} == ({False} if is_running else set())
        driver.state.gpu_count = 2
        until(lambda: plugin.get("/readyz")[0] == 200 and cluster.has_inventory([True, True]))


def outside_mib(cluster: Cluster) -> list[int]:
    """Memory of each GPU of the inventory that is used outside of pods."""
    return [gpu.get("outsideMib", 0) for gpu in cluster.inventory()]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_measurement_that_hangs_hides_no_memory_in_use(
    cluster: Cluster,
    driver: SimulatedDriver,
    is_running: bool,  # noqa: FBT001 - a case
) -> None:
    """The queries for health go on and see it, of GPUs that have nothing to do with the call that hangs."""
    if not is_running:
        driver.gpus[1].used_bytes = 20_000 << 20
        driver.hang(0, "POWER")
    with Running(replace(cluster.settings, report_interval_s=0.2)) as plugin:
        if is_running:
            until(lambda: plugin.get("/readyz")[0] == 200)
            driver.hang(0, "POWER")
            until(lambda: stalled(plugin)["meter"])
            driver.gpus[1].used_bytes = 20_000 << 20
        else:
            until(lambda: bool(cluster.inventory()))
            assert outside_mib(cluster) == [0, 20_000], "from the first inventory on"
        until(lambda: outside_mib(cluster) == [0, 20_000])
        assert (reasons(cluster), stalled(plugin)["meter"]) == (["", ""], True)
        driver.release()


def cordon(cluster: Cluster, *uuids: str) -> None:
    """Cordon exactly these GPUs."""
    cluster.client.patch_node("n1", {"metadata": {"annotations": {"gpupack.io/cordon": ",".join(uuids) or None}}})


def test_a_node_whose_gpus_are_all_cordoned_lets_the_driver_go(cluster: Cluster, driver: SimulatedDriver) -> None:
    """As soon as no pod has a GPU; what is known stays, and the GPUs are back when a cordon is lifted."""
    with Running(cluster.settings) as plugin:
        until(lambda: [gpu.get("enforcement") for gpu in cluster.inventory()] == ["watched"] * 2)
        until(lambda: plugin.get("/readyz")[0] == 200)
        uuids = [gpu.uuid.decode() for gpu in driver.gpus]
        cluster.bind("p", {"main": {uuids[0]: 8}})
        cordon(cluster, *uuids)
        until(lambda: reasons(cluster) == ["cordoned by hand"] * 2)
        calls = driver.state.calls
        until(lambda: driver.state.calls > calls + 100)
        assert driver.state.sessions >= 3
        cluster.client.delete_pod("p", grace_s=0)
        until(lambda: driver.state.sessions == 0)
        until(lambda: "gpupack_plugin_driver_released 1.0" in plugin.get("/metrics")[1])
        calls = driver.state.calls
        threading.Event().wait(1.0)
        assert (driver.state.calls, driver.state.sessions) == (calls, 0)
        assert reasons(cluster) == ["cordoned by hand"] * 2
        assert [gpu.get("enforcement") for gpu in cluster.inventory()] == ["watched"] * 2
        assert plugin.get("/readyz")[0] == 200
        until(lambda: ("GPUDriverUse", CLOSED) in said(cluster, "n1"))
        cordon(cluster, uuids[0])
        until(lambda: reasons(cluster) == ["cordoned by hand", ""])
        until(lambda: driver.state.sessions >= 3)
        until(lambda: ("GPUDriverUse", USED_AGAIN) in said(cluster, "n1"))
        assert "gpupack_plugin_driver_released 0.0" in plugin.get("/metrics")[1]


def test_memory_that_is_in_use_when_a_cordon_is_lifted_is_not_offered_as_free(
    cluster: Cluster, driver: SimulatedDriver
) -> None:
    """The GPUs are measured before they are offered, however long it is to the next measurement."""
    with Running(replace(cluster.settings, measure_interval_s=60.0, report_interval_s=60.0)) as plugin:
        until(lambda: plugin.get("/readyz")[0] == 200)
        cordon(cluster, *[gpu.uuid.decode() for gpu in driver.gpus])
        until(lambda: driver.state.sessions == 0 and reasons(cluster) == ["cordoned by hand"] * 2)
        driver.gpus[0].used_bytes = 20_000 << 20
        cordon(cluster)
        until(lambda: "" in reasons(cluster))
        assert (reasons(cluster), outside_mib(cluster)) == (["", ""], [20_000, 0])
