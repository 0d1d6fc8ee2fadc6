"""The simulated kubelet drives a device plugin over gRPC as the real one does."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ApiAccess, ClusterClient
from bench.simulated.kubelet.kubelet import KubeletSettings, SimulatedKubelet
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from device_plugin.kubelet.podresources_v1 import podresources_pb2, podresources_pb2_grpc
from tests.fakes.scripted_plugin import ScriptedPlugin

RESOURCE = "gpupack.io/gpu-mem"
IDS = [f"G{gpu}-{number}" for gpu in range(2) for number in range(4)]


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder whose path is short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="kubelet-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def client() -> Iterator[ClusterClient]:
    """A client of a fresh API server."""
    with ApiServer() as server:
        connected = ClusterClient(ApiAccess(server.url))
        yield connected
        connected.close()


@pytest.fixture
def kubelet(client: ClusterClient, root: Path) -> Iterator[SimulatedKubelet]:
    """A node without plugin."""
    settings = KubeletSettings(status_interval_s=0.05, endpoint_grace_s=3.0)
    with SimulatedKubelet(MachineSpec("n1", pods=6), client, root, settings) as running:
        yield running


@pytest.fixture
def plugin(kubelet: SimulatedKubelet, client: ClusterClient) -> Iterator[ScriptedPlugin]:
    """A plugin of eight devices that likes G1 first."""
    scripted = ScriptedPlugin(kubelet.plugins_folder, RESOURCE, IDS, prefers=[*IDS[4:], *IDS[:4]])
    scripted.start()
    wait_until(lambda: _amounts(client) == ("8", "8"), "the plugin's devices in the node status")
    yield scripted
    scripted.stop()


def _amounts(client: ClusterClient) -> tuple[str | None, str | None]:
    status = (client.node("n1") or {})["status"]
    return status["capacity"].get(RESOURCE), status["allocatable"].get(RESOURCE)


def _run(client: ClusterClient, body: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    client.create_pod(body)
    client.bind_pod(body["metadata"]["name"], "n1")
    return client.wait_for_phase(body["metadata"]["name"], phase, timeout_s=30)


def _container(name: str, amount: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "resources": {"limits": {RESOURCE: str(amount)}}, **more}


def _listed(kubelet: SimulatedKubelet) -> dict[str, dict[str, list[str]]]:
    with grpc.insecure_channel(
        f"unix:{kubelet.podresources_socket}", options=[("grpc.default_authority", "localhost")]
    ) as channel:
        stub = podresources_pb2_grpc.PodResourcesListerStub(channel)
        reply = stub.List(podresources_pb2.ListPodResourcesRequest(), timeout=5)
    assert all(len(entry.device_ids) == 1 for pod in reply.pod_resources for c in pod.containers for entry in c.devices)
    return {
        pod.name: {c.name: sorted(entry.device_ids[0] for entry in c.devices) for c in pod.containers}
        for pod in reply.pod_resources
    }


def test_a_node_registers_ready_and_untainted(client: ClusterClient, kubelet: SimulatedKubelet) -> None:
    """With its native resources, before any plugin is there."""
    node = client.node(kubelet.spec.name) or {}
    assert node["spec"].get("taints") is None
    assert node["status"]["allocatable"] == {"cpu": "64", "memory": "512Gi", "pods": "6"}


def test_a_pod_gets_the_preferred_devices_and_starts(
    client: ClusterClient, kubelet: SimulatedKubelet, plugin: ScriptedPlugin
) -> None:
    """Preference, Allocate, PreStart in that order; podresources and the account agree."""
    pod = _run(client, gpu_pod("a", {RESOURCE: 3}))
    chosen = ("G1-0", "G1-1", "G1-2")
    assert plugin.calls == [("prefer", (), 3), ("allocate", chosen, 3), ("start", chosen, 3)]
    assert kubelet.devices_of(pod) == {"main": {RESOURCE: list(chosen)}}
    assert kubelet.environment(pod) == {"DEVICES": ",".join(chosen)}
    assert _listed(kubelet) == {"a": {"main": list(chosen)}}


def test_init_devices_are_reused_and_sidecars_keep_theirs(
    client: ClusterClient, kubelet: SimulatedKubelet, plugin: ScriptedPlugin
) -> None:
    """The pool of the init container feeds the sidecar and the app; what it lacks is asked for with must-include."""
    init = [_container("init", 3), _container("side", 1, restartPolicy="Always")]
    pod = _run(client, gpu_pod("a", {}, initContainers=init, containers=[_container("main", 4)]))
    held = kubelet.devices_of(pod)
    pool, side, main = (set(held[name][RESOURCE]) for name in ("init", "side", "main"))
    assert side < pool
    assert pool - side < main
    assert [call[0] for call in plugin.calls] == [
        "prefer",
        "allocate",
        "allocate",
        "prefer",
        "allocate",
        *["start"] * 3,
    ]
    assert plugin.calls[3] == ("prefer", tuple(sorted(pool - side)), 4)
    assert set(_listed(kubelet)["a"]) == {"side", "main"}


def test_a_refused_allocate_fails_the_pod_for_good(
    client: ClusterClient, kubelet: SimulatedKubelet, plugin: ScriptedPlugin
) -> None:
    """UnexpectedAdmissionError with the plugin's text; the devices are free for the next pod."""
    del kubelet
    plugin.refuse_allocate = "would be split"
    status = _run(client, gpu_pod("a", {RESOURCE: 8}), "Failed")["status"]
    plugin.refuse_allocate = ""
    assert status["reason"] == "UnexpectedAdmissionError"
    assert "rpc error: code = FailedPrecondition desc = would be split, which is unexpected" in status["message"]
    _run(client, gpu_pod("b", {RESOURCE: 8}))


def test_a_container_waits_for_pre_start(client: ClusterClient, plugin: ScriptedPlugin) -> None:
    """A PreStartContainer that fails is tried again, without a new Allocate."""
    plugin.refuse_pre_start = 2
    _run(client, gpu_pod("a", {RESOURCE: 1}))
    assert [call[0] for call in plugin.calls] == ["prefer", "allocate", "start", "start", "start"]


def test_a_node_that_is_full_rejects(client: ClusterClient, plugin: ScriptedPlugin) -> None:
    """Too few devices are an admission error, too few pods or cores are OutOf."""
    del plugin
    _run(client, gpu_pod("a", {RESOURCE: 8}))
    assert _run(client, gpu_pod("b", {RESOURCE: 1}), "Failed")["status"]["reason"] == "UnexpectedAdmissionError"
    assert _run(client, gpu_pod("c", {"cpu": 65}), "Failed")["status"]["reason"] == "OutOfcpu"


def test_devices_come_back_when_a_pod_ends(client: ClusterClient, plugin: ScriptedPlugin) -> None:
    """By itself after its run time, or deleted once it has stopped."""
    del plugin
    _run(client, gpu_pod("a", {RESOURCE: 8}, annotations={"simulated.gpupack.io/run-seconds": "0.1"}), "Succeeded")
    _run(client, gpu_pod("b", {RESOURCE: 8}))
    client.delete_pod("b")
    client.wait_gone("b")
    _run(client, gpu_pod("c", {RESOURCE: 8}))


def test_a_running_pod_can_be_told_to_end(client: ClusterClient, plugin: ScriptedPlugin) -> None:
    """By the same annotation, set later: how tests let a job finish."""
    del plugin
    _run(client, gpu_pod("a", {RESOURCE: 8}))
    client.patch_pod("a", {"metadata": {"annotations": {"simulated.gpupack.io/run-seconds": "0"}}})
    client.wait_for_phase("a", "Succeeded")
    _run(client, gpu_pod("b", {RESOURCE: 8}))


def test_a_terminating_pod_holds_its_devices(client: ClusterClient, plugin: ScriptedPlugin) -> None:
    """Until its containers have stopped; a pod that is admitted meanwhile finds none."""
    del plugin
    _run(client, gpu_pod("a", {RESOURCE: 8}, annotations={"simulated.gpupack.io/stop-seconds": "20"}))
    client.delete_pod("a", grace_s=20)
    assert _run(client, gpu_pod("b", {RESOURCE: 8}), "Failed")["status"]["reason"] == "UnexpectedAdmissionError"
    client.delete_pod("a", grace_s=0)
    client.wait_gone("a")


def test_held_admissions_come_in_random_order(client: ClusterClient, root: Path) -> None:
    """The order depends on the seed, and is not that of the binds."""
    settings = KubeletSettings(status_interval_s=0.05, shuffled_admission=True, seed=3)
    with SimulatedKubelet(MachineSpec("n1"), client, root, settings) as kubelet:
        plugin = ScriptedPlugin(kubelet.plugins_folder, RESOURCE, IDS, prefers=IDS)
        plugin.start()
        wait_until(lambda: _amounts(client) == ("8", "8"), "the plugin's devices in the node status")
        kubelet.hold_admissions()
        for number in range(8):
            client.create_pod(gpu_pod(f"p{number}", {RESOURCE: 1}))
            client.bind_pod(f"p{number}", "n1")
        wait_until(lambda: kubelet.waiting() == 8, "all pods to wait")
        kubelet.release_admissions()
        pods = [client.wait_for_phase(f"p{number}", "Running") for number in range(8)]
        order = [kubelet.devices_of(pod)["main"][RESOURCE][0] for pod in pods]
        plugin.stop()
    assert sorted(order) == IDS
    assert order != IDS


def test_a_dead_plugin_takes_allocatable_at_once_and_capacity_later(
    client: ClusterClient, plugin: ScriptedPlugin
) -> None:
    """8 of 8, then 0 of 8, then 0 of 0."""
    plugin.set_devices(IDS[:7], IDS[7:])
    wait_until(lambda: _amounts(client) == ("8", "7"), "one unhealthy device")
    plugin.stop()
    wait_until(lambda: _amounts(client) == ("8", "0"), "no allocatable devices")
    wait_until(lambda: _amounts(client) == ("0", "0"), "no devices")


def test_a_restarted_kubelet_remembers_and_waits_for_the_plugin(
    client: ClusterClient, kubelet: SimulatedKubelet, plugin: ScriptedPlugin
) -> None:
    """It deletes the sockets and has no devices until the plugin comes back; running pods keep theirs."""
    pod = _run(client, gpu_pod("a", {RESOURCE: 2}))
    before = kubelet.devices_of(pod)
    kubelet.restart()
    wait_until(lambda: _amounts(client)[1] == "0", "no devices after the restart")
    assert [path.name for path in kubelet.plugins_folder.iterdir() if path.is_socket()] == ["kubelet.sock"]
    assert kubelet.devices_of(pod) == before
    plugin.stop()
    again = ScriptedPlugin(kubelet.plugins_folder, RESOURCE, IDS, prefers=IDS)
    again.start()
    wait_until(lambda: _amounts(client) == ("8", "8"), "the plugin to be back")
    _run(client, gpu_pod("b", {RESOURCE: 6}))
    assert _run(client, gpu_pod("c", {RESOURCE: 1}), "Failed")["status"]["reason"] == "UnexpectedAdmissionError"
    again.stop()


def test_podresources_refuses_a_tight_poll(kubelet: SimulatedKubelet) -> None:
    """The kubelet's rate limit."""
    with grpc.insecure_channel(
        f"unix:{kubelet.podresources_socket}", options=[("grpc.default_authority", "localhost")]
    ) as channel:
        stub = podresources_pb2_grpc.PodResourcesListerStub(channel)
        # All at once: a machine that is slow to ask must not stay below the rate.
        asked = [stub.List.future(podresources_pb2.ListPodResourcesRequest(), timeout=30) for _ in range(400)]
        codes = {call.code() for call in asked}
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
