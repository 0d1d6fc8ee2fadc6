"""The whole plugin against a simulated API server and a kubelet's sockets."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import urllib3

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.waiting import wait_until as until
from device_plugin.service import run
from device_plugin.settings import Safeguards, Settings, SettingsError
from extender.kube.credentials import WriteHealth
from tests.fakes.kubelet_server import FakeKubelet, Holding

MEMORY, WHOLE = "gpupack.io/gpu-mem", "gpupack.io/gpu"
GPUS = "gpus: [{model: Tesla T4, memory_mib: 15360, count: 2}, {model: NVIDIA A10, memory_mib: 23028, uuids: [GPU-x]}]"


class Cluster:
    """One node's surroundings."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.server = server
        self.client = ClusterClient.from_kubeconfig(server.write_kubeconfig(folder / "kubeconfig"))
        self.gpus_file = folder / "gpus.yaml"
        self.gpus_file.write_text(GPUS)
        (folder / "kubelet").mkdir()
        self.kubelet = FakeKubelet(folder / "kubelet")
        self.settings = Settings(
            node_name="n1",
            kubeconfig=folder / "kubeconfig",
            kubelet_dir=self.kubelet.folder,
            podresources_socket=self.kubelet.podresources_socket,
            gpus=str(self.gpus_file),
            listen="127.0.0.1:0",
            sample_interval_s=0.1,
            reconcile_interval_s=0.2,
            safeguards=Safeguards(probation_s=0.2, probe_interval_s=0.2),
        )
        self.client.create_node({"metadata": {"name": "n1"}})

    def inventory(self, node: str = "n1") -> list[dict[str, Any]]:
        """GPUs of the Node's annotation; empty without one."""
        body = self.client.node(node)
        text = ((body or {}).get("metadata", {}).get("annotations") or {}).get("gpupack.io/inventory")
        return list(json.loads(text)["gpus"]) if text else []

    def has_inventory(self, healthy: list[bool]) -> bool:
        """Whether the annotation shows GPUs with this health."""
        return [gpu["healthy"] for gpu in self.inventory()] == healthy

    def has_devices(self, count: int) -> bool:
        """Whether the kubelet was last told of so many units."""
        return len(self.kubelet.plugins[MEMORY].lists[-1]) == count

    def bind(self, name: str, plan: dict[str, dict[str, int]], node: str = "n1") -> None:
        """A pod as the extender binds it; each container of the plan asks for what it was planned."""
        containers = [
            {"name": each, "image": "x", "resources": {"limits": {MEMORY: str(sum(on.values()))}}}
            for each, on in plan.items()
        ]
        self.client.create_pod({"metadata": {"name": name}, "spec": {"containers": containers}})
        text = json.dumps({"version": 1, "unitMib": 1024, "containers": plan})
        self.client.bind_pod(name, node, annotations={"gpupack.io/allocation": text})

    def allocated(self, name: str) -> dict[str, dict[str, int]]:
        """The record on a pod; empty without one."""
        body = self.client.pod(name)
        assert body is not None
        text = body["metadata"].get("annotations", {}).get("gpupack.io/allocated")
        return dict(json.loads(text)["containers"]) if text else {}


class Running:
    """A plugin in a thread, as `run` starts it."""

    def __init__(self, settings: Settings) -> None:
        self.stop_event = threading.Event()
        self.port = 0
        self._listening = threading.Event()
        self._thread = threading.Thread(target=run, args=(settings, self.stop_event, self._take))
        self._thread.start()
        assert self._listening.wait(30.0)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take(self, port: int) -> None:
        self.port = port
        self._listening.set()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of its endpoints."""
        answer = urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=10.0, retries=False)
        return answer.status, answer.data.decode()

    def stop(self) -> None:
        """End it as SIGTERM does."""
        self.stop_event.set()
        self._thread.join(20.0)
        assert not self._thread.is_alive()


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    """The surroundings, kubelet and API server up."""
    with ApiServer() as server:
        found = Cluster(folder, server)
        with found.kubelet:
            yield found
        found.client.close()


@pytest.fixture
def plugin(cluster: Cluster) -> Iterator[Running]:
    """The plugin, ready."""
    with Running(cluster.settings) as found:
        until(lambda: found.get("/readyz")[0] == 200)
        yield found


def test_from_the_file_to_the_container_and_back(cluster: Cluster, plugin: Running) -> None:
    """Inventory on the node, devices at the kubelet, the planned GPU in the container, the truth on the pod."""
    gpus = cluster.inventory()
    assert [(gpu["model"], gpu["memoryMib"]) for gpu in gpus] == [("Tesla T4", 15360)] * 2 + [("NVIDIA A10", 23028)]
    assert len(cluster.kubelet.wait_listed(MEMORY)[0]) == 15 + 15 + 22
    cluster.bind("p", {"main": {gpus[1]["uuid"]: 8}})
    ids, answer = cluster.kubelet.admit("p", MEMORY, 8)
    cluster.kubelet.pre_start(MEMORY, ids)
    assert answer.envs["NVIDIA_VISIBLE_DEVICES"] == gpus[1]["uuid"]
    assert cluster.allocated("p") == {"main": {gpus[1]["uuid"]: 8}}
    assert "gpupack_plugin_allocations_total" in plugin.get("/metrics")[1]


def test_without_podresources_it_is_not_ready(cluster: Cluster) -> None:
    """It serves, but would not see which GPUs pods got; as where the kubelet has another root folder."""
    elsewhere = cluster.kubelet.folder.parent / "pod-resources" / "kubelet.sock"
    with Running(replace(cluster.settings, podresources_socket=elsewhere)) as plugin:
        text = f"podresources: no podresources at {elsewhere}: what the kubelet gave is not seen\n"
        until(lambda: plugin.get("/readyz") == (503, text))
        assert plugin.get("/healthz") == (200, text)


def test_a_startup_taint_goes_when_the_kubelet_offers_the_gpus(cluster: Cluster) -> None:
    """Not before, and no other taint with it; one that comes back goes again."""
    startup, other = ({"key": key, "effect": "NoSchedule"} for key in ("example.com/starting", "example.com/other"))

    def taints() -> list[dict[str, str]]:
        node = cluster.client.node("n1")
        return list((node or {})["spec"].get("taints") or ())

    def offer(units: str) -> None:
        allocatable = {MEMORY: units, WHOLE: "2", "gpupack.io/gpu-core": "200"}
        cluster.client.patch_node("n1", {"status": {"allocatable": allocatable}}, subresource="status")

    cluster.client.patch_node("n1", {"spec": {"taints": [startup, other]}})
    with Running(replace(cluster.settings, startup_taints=frozenset({"example.com/starting"}))) as plugin:
        until(lambda: plugin.get("/readyz")[0] == 200)
        offer("0")
        time.sleep(0.3)
        assert taints() == [startup, other]
        offer("52")
        until(lambda: taints() == [other])
        cluster.client.patch_node("n1", {"spec": {"taints": [other, startup]}})
        until(lambda: taints() == [other])


def test_lesson_18_a_gpu_falls_ill_is_removed_and_comes_back(cluster: Cluster, plugin: Running) -> None:
    """In the annotation and at the kubelet alike."""
    assert plugin.get("/healthz") == (200, "ok\n")
    for text, healthy, count in (
        (GPUS.replace("[GPU-x]", "[GPU-x], unhealthy: [0], reason: XID 79"), [True, True, False], 52),
        (GPUS.replace("count: 2", "count: 1"), [True, True], 37),
        (GPUS, [True, True, True], 52),
    ):
        new = cluster.gpus_file.with_suffix(".new")
        new.write_text(text)
        new.rename(cluster.gpus_file)
        until(partial(cluster.has_inventory, healthy))
        assert cluster.kubelet.wait_for(partial(cluster.has_devices, count))


def test_lesson_10_a_node_that_is_created_again_gets_its_inventory(cluster: Cluster, plugin: Running) -> None:
    """Without a restart of the plugin."""
    assert plugin.port
    cluster.client.delete_node("n1")
    cluster.client.create_node({"metadata": {"name": "n1"}})
    until(lambda: len(cluster.inventory()) == 3)


def test_an_api_server_that_is_away_does_not_stop_admissions(cluster: Cluster, plugin: Running) -> None:
    """The container runs with its GPU; the record is written when the server is back."""
    assert plugin.port
    cluster.bind("p", {"main": {"GPU-x": 8}})
    until(lambda: len(cluster.server.requests()) > 0)
    ids, answer = cluster.kubelet.admit("p", MEMORY, 8)
    assert answer.envs["GPUPACK_GPU_UUIDS"] == "GPU-x"
    cluster.server.pause()
    cluster.kubelet.pre_start(MEMORY, ids)
    cluster.server.resume()
    until(lambda: cluster.allocated("p") == {"main": {"GPU-x": 8}})


def test_two_plugins_in_one_process_are_two_nodes(cluster: Cluster, plugin: Running, folder: Path) -> None:
    """Each with its own UUIDs, sockets and port."""
    (folder / "k2").mkdir()
    cluster.client.create_node({"metadata": {"name": "n2"}})
    with FakeKubelet(folder / "k2") as kubelet:
        settings = replace(
            cluster.settings,
            node_name="n2",
            kubelet_dir=kubelet.folder,
            podresources_socket=kubelet.podresources_socket,
        )
        with Running(settings) as second:
            kubelet.wait_listed(WHOLE)
            until(lambda: cluster.inventory("n2"))
    uuids = [gpu["uuid"] for node in ("n1", "n2") for gpu in cluster.inventory(node)[:2]]
    assert (len(set(uuids)), plugin.port == second.port) == (4, False)


def test_a_restarted_plugin_knows_what_it_gave_before(cluster: Cluster) -> None:
    """The kubelet's account is read; a whole GPU is not shared after the restart either."""
    container = {"name": "main", "image": "x", "resources": {"limits": {WHOLE: "1"}}}
    cluster.client.create_pod({"metadata": {"name": "w"}, "spec": {"nodeName": "n1", "containers": [container]}})
    with Running(cluster.settings):
        cluster.kubelet.wait_listed(WHOLE)
        ids, _ = cluster.kubelet.admit("w", WHOLE, 1)
    with Running(cluster.settings):
        assert cluster.kubelet.wait_for(lambda: cluster.kubelet.registrations.count(MEMORY) == 2)
        cluster.kubelet.wait_listed(MEMORY)
        chosen = {name.rpartition("-")[0] for name in cluster.kubelet.preferred(MEMORY, 15)}
        assert not chosen & ids


def test_settings_that_cannot_work_end_the_run(cluster: Cluster) -> None:
    """With the reason; nothing is left running."""
    before = threading.active_count()
    for change in ({"gpus": "/nonexistent.yaml"}, {"kubeconfig": Path("/nonexistent")}):
        with pytest.raises(SettingsError, match="nonexistent"):
            run(replace(cluster.settings, **change), threading.Event())
    assert threading.active_count() <= before


def said(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    """Reason and message of the Events about an object."""
    path = "/api/v1/namespaces/default/events"
    found = cluster.client.list_all(path, fieldSelector=f"involvedObject.name={name}")[0]
    return sorted((each["reason"], each["message"]) for each in found)


def test_a_gpu_that_an_admin_cordons_is_out_until_the_cordon_is_lifted(cluster: Cluster, plugin: Running) -> None:
    """In the annotation, at the kubelet and in Events on the node and on the pod that sits there."""
    assert plugin.port
    cluster.bind("p", {"main": {"GPU-x": 8}})
    cluster.kubelet.wait_listed(MEMORY)
    cluster.kubelet.admit("p", MEMORY, 8)
    until(lambda: cluster.allocated("p"))
    before = len(cluster.kubelet.plugins[MEMORY].lists)
    for count, (cordon, healthy) in enumerate([("GPU-x", [True, True, False]), (None, [True, True, True])], start=1):
        patch = {"metadata": {"annotations": {"gpupack.io/cordon": cordon}}}
        cluster.client.request("PATCH", "/api/v1/nodes/n1", patch, content_type="application/merge-patch+json")
        until(partial(cluster.has_inventory, healthy))
        cluster.kubelet.wait_listed(MEMORY, before + count)
    until(lambda: len(said(cluster, "n1")) == len(said(cluster, "p")) == 2)
    assert said(cluster, "p") == [
        ("GPUCordoned", "GPU GPU-x (NVIDIA A10) is out of service: cordoned by hand"),
        ("GPUUncordoned", "GPU GPU-x (NVIDIA A10) is used again"),
    ]
    assert len(cluster.kubelet.plugins[MEMORY].lists) == before + 2


def ill(cluster: Cluster) -> dict[str, str]:
    """Why GPUs are not offered, by UUID."""
    return {gpu["uuid"]: gpu["reason"] for gpu in cluster.inventory() if not gpu["healthy"]}


def test_a_gpu_that_another_plugin_gives_out_is_not_offered_until_it_is_free(cluster: Cluster) -> None:
    """Not even at the start, nor to whom asks for a whole one; and it is said who has it."""
    theirs = Holding("default", "q", "main", "nvidia.com/gpu", frozenset({"GPU-x::1"}))
    cluster.kubelet.holdings.append(theirs)
    with Running(cluster.settings):
        first = cluster.kubelet.wait_listed(WHOLE)[0]
        assert first["GPU-x"] == "Unhealthy"
        who = "also given out by another plugin: nvidia.com/gpu gave it to pod default/q, container main"
        until(lambda: ill(cluster) == {"GPU-x": who})
        until(lambda: ("GPUUnhealthy", f"GPU GPU-x (NVIDIA A10) is not used: {who}") in said(cluster, "n1"))
        cluster.kubelet.holdings.remove(theirs)
        until(lambda: ill(cluster) == {})


def test_claims_of_gpus_are_conflicts_too(cluster: Cluster, plugin: Running) -> None:
    """By the CDI name; a claim that names no UUID is reported only."""
    assert plugin.port
    cluster.kubelet.claims += [
        ("r", "gpu.nvidia.com", "gpu-2", "k8s.gpu.nvidia.com/device=GPU-x"),
        ("s", "gpu.nvidia.com", "gpu-0", "k8s.gpu.nvidia.com/device=claim-gpu-0"),
    ]
    until(lambda: set(ill(cluster)) == {"GPU-x"})
    until(lambda: any(reason == "GPUConflict" and "pod default/s" in text for reason, text in said(cluster, "n1")))


def test_whole_gpus_under_nvidias_name_are_ours(cluster: Cluster) -> None:
    """A node keeps serving `nvidia.com/gpu` to unchanged pods; our own devices are no conflict."""
    with Running(replace(cluster.settings, gpu_resource="nvidia.com/gpu")):
        assert set(cluster.kubelet.wait_listed("nvidia.com/gpu")[0]) == {gpu["uuid"] for gpu in cluster.inventory()}
        container = {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        cluster.client.create_pod({"metadata": {"name": "w"}, "spec": {"nodeName": "n1", "containers": [container]}})
        ids, answer = cluster.kubelet.admit("w", "nvidia.com/gpu", 1)
        assert answer.envs["NVIDIA_VISIBLE_DEVICES"] == next(iter(ids))
        (uuid,) = ids
        until(lambda: set(cluster.allocated("w").get("main", {})) == {uuid})
        shared = {name.rpartition("-")[0] for name in cluster.kubelet.preferred(MEMORY, 15)}
        assert not shared & ids
        assert ill(cluster) == {}


def test_simulated_gpus_are_watched_and_say_so(cluster: Cluster, plugin: Running) -> None:
    """In the inventory and in the container: what the file's processes use is known, and nothing limits them."""
    assert plugin.port
    cluster.bind("p", {"main": {"GPU-x": 8}})
    _, answer = cluster.kubelet.admit("p", MEMORY, 8)
    assert ({gpu["enforcement"] for gpu in cluster.inventory()}, answer.envs["GPUPACK_ENFORCEMENT"]) == (
        {"watched"},
        "watched",
    )


def test_a_restart_writes_nothing_where_nothing_changed(cluster: Cluster) -> None:
    """The first inventory of a plugin has the enforcement that holds, so nothing is to be put right later."""
    cluster.bind("p", {"main": {"GPU-x": 8}})
    versions = []
    for _ in range(2):
        with Running(cluster.settings) as plugin:
            until(partial(is_ready, plugin))
            time.sleep(1.0)
        node = cluster.client.node("n1")
        assert node is not None
        versions.append(node["metadata"]["resourceVersion"])
    assert versions[0] == versions[1]


def is_ready(plugin: Running) -> bool:
    """Whether its /readyz says so."""
    return plugin.get("/readyz")[0] == 200


def test_a_watch_that_the_api_server_refuses_makes_the_plugin_not_ready(cluster: Cluster) -> None:
    """Nobody would hear of a cordon, nor of a Node that was made anew."""
    cluster.server.inject(Fault(method="GET", path="/api/v1/nodes", status=403, times=1000))
    with Running(cluster.settings) as plugin:
        until(lambda: "node: list: 403" in plugin.get("/readyz")[1])
        assert plugin.get("/readyz")[0] == 503
        assert plugin.get("/healthz")[0] == 200


def test_writes_that_are_denied_make_the_plugin_not_ready(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was withdrawn, or a right: the record of a pod would never be written."""
    monkeypatch.setattr(WriteHealth, "STEADY_S", 0.0)
    with Running(cluster.settings) as plugin:
        until(partial(is_ready, plugin))
        cluster.server.inject(Fault(method="PATCH", path="/pods/p", status=401, times=1000))
        cluster.bind("p", {"main": {"GPU-x": 8}})
        cluster.kubelet.admit("p", MEMORY, 8)
        until(lambda: "writes: PATCH pods has failed" in plugin.get("/readyz")[1])
        status, text = plugin.get("/readyz")
        assert (status, "401" in text) == (503, True)
        assert plugin.get("/healthz")[0] == 200


def test_events_about_pods_with_long_names_are_written(cluster: Cluster, plugin: Running) -> None:
    """A pod's name may have 253 characters, an Event's name no more than that."""
    assert plugin.port
    name = ".".join(["a" * 62] * 4)[:253]
    cluster.bind(name, {"main": {"GPU-x": 8}})
    cluster.kubelet.wait_listed(MEMORY)
    cluster.kubelet.admit(name, MEMORY, 8)
    until(lambda: cluster.allocated(name))
    patch = {"metadata": {"annotations": {"gpupack.io/cordon": "GPU-x"}}}
    cluster.client.request("PATCH", "/api/v1/nodes/n1", patch, content_type="application/merge-patch+json")
    until(lambda: said(cluster, name))
    found = cluster.client.list_all("/api/v1/namespaces/default/events")[0]
    assert max(len(each["metadata"]["name"]) for each in found) <= 253
