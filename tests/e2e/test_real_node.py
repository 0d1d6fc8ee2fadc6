"""A pod that asks for GPU memory runs on the right GPU: the real kubelet, real containers, and its real admission."""

import json
from pathlib import Path

import pytest
import urllib3
import yaml

from bench.simulated.waiting import wait_until
from tests.e2e.audit import Right, rights_of
from tests.e2e.podspecs import container, pod
from tests.e2e.realnode import (
    EXTENDER_ACCOUNT,
    GPUS,
    MANIFESTS,
    MEMORY,
    NAMES,
    NAMESPACE,
    ON_A100,
    PLUGIN_ACCOUNT,
    SYSTEM,
    UNITS,
    RealNode,
    placed,
    processes,
    share,
    the_gpu,
    total,
    whole,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NOT_A100 = {NAMES.model_annotation: "!A100*"}
SPREAD = {NAMES.policy_annotation: "spread"}


def test_the_plugin_registers_both_resources_and_publishes_each_gpu(real_node: RealNode) -> None:
    """Allocatable has every unit and every GPU; the inventory has each GPU's own model and size (lesson 12)."""
    assert real_node.allocatable() == (UNITS, GPUS, 100 * GPUS)
    inventory = json.loads(real_node.kubelet.node()["metadata"]["annotations"][NAMES.inventory_annotation])
    sizes = [(gpu["model"], gpu["memoryMib"]) for gpu in inventory["gpus"]]
    assert sizes == [("NVIDIA A100-SXM4-80GB", 81920)] * 8 + [("Tesla T4", 15360)] * 2
    assert {gpu["uuid"] for gpu in inventory["gpus"]} == set(real_node.gpus())


def test_the_container_sees_the_gpu_that_the_extender_chose(real_node: RealNode) -> None:
    """The extender's plan, the kubelet's account, the plugin's report and the process's environment are one."""
    found = real_node.run(share("one", 8))
    uuid = the_gpu(found)
    assert placed(found, NAMES.allocation_annotation) == {"main": {uuid: 8}} == real_node.given()["one"]
    seen = real_node.environment("one")
    assert (seen["NVIDIA_VISIBLE_DEVICES"], seen["GPUPACK_GPU_MEM_MIB"]) == (uuid, "8192")
    assert real_node.account(found) == {uuid: 8}
    real_node.wait_charged("one", {uuid: 8})
    written = json.loads(found["metadata"]["annotations"][NAMES.allocated_annotation])["at"]
    # Both in whole seconds: PreStartContainer writes before the process starts.
    assert written <= found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]


def test_lesson_01_64_containers_of_one_size_at_once(real_node: RealNode) -> None:
    """They fill eight GPUs to the last unit, each on one GPU, whatever the order in which the kubelet takes them."""
    real_node.kubelet.freeze()
    try:
        for number in range(40):
            real_node.create(share(f"single-{number}", 10, annotations={**ON_A100, **SPREAD}))
        for number in range(8):
            three = [container(name, {MEMORY: 10}) for name in ("a", "b", "c")]
            real_node.create(pod(f"triple-{number}", *three, annotations={**ON_A100, **SPREAD}))
        wait_until(
            lambda: all(found["spec"].get("nodeName") for found in real_node.pods()),
            what="48 pods to be bound",
            timeout_s=200,
        )
    finally:
        real_node.kubelet.thaw()
    wait_until(lambda: not waiting(real_node), what="48 pods to run", timeout_s=400)
    assert [found["status"]["phase"] for found in real_node.pods()] == ["Running"] * 48
    real_node.wait_agreed()
    for found in real_node.pods():
        for name, units in placed(found).items():
            (uuid,) = units
            seen = real_node.environment(found["metadata"]["name"], name)
            assert (units, seen["NVIDIA_VISIBLE_DEVICES"]) == ({uuid: 10}, uuid)
    assert sorted(real_node.used().values()) == [0, 0] + [80] * 8
    for found in real_node.pods():
        # What the kubelet swapped is told, and nothing else is said to have moved.
        swapped = total(placed(found)) != total(placed(found, NAMES.allocation_annotation))
        expected = {"GpupackPlaced", "GpupackMoved"} if swapped else {"GpupackPlaced"}
        name = found["metadata"]["name"]
        wait_until(
            lambda name=name, expected=expected: set(told(real_node, name)) == expected,  # type: ignore[misc]
            what=f"{name} to be told of with {expected}",
        )


def waiting(real_node: RealNode) -> list[str]:
    """Pods that neither run nor have failed."""
    return [found["metadata"]["name"] for found in real_node.pods() if found["status"]["phase"] == "Pending"]


def test_containers_of_one_pod_get_their_own_share_each(real_node: RealNode) -> None:
    """Together they need more than any GPU of this model has; the one without a limit gets none (lesson 2)."""
    two = [container("a", {MEMORY: 10}), container("b", {MEMORY: 9}), container("c")]
    found = real_node.run(pod("two", *two, annotations={NAMES.model_annotation: "*T4*"}))
    assert {name: sum(units.values()) for name, units in placed(found).items()} == {"a": 10, "b": 9}
    assert the_gpu(found, "a") != the_gpu(found, "b")
    for name in ("a", "b"):
        assert real_node.environment("two", name)["NVIDIA_VISIBLE_DEVICES"] == the_gpu(found, name)
    assert "NVIDIA_VISIBLE_DEVICES" not in real_node.environment("two", "c")
    real_node.wait_agreed()


def test_an_init_containers_units_are_used_again_by_the_app_container(real_node: RealNode) -> None:
    """12 for the init container and 8 for the app are 12 on one GPU, to the kubelet and to the extender."""
    init = container("prepare", {MEMORY: 12}, arguments=("-for=100ms",))
    found = real_node.run(pod("larger", container(limits={MEMORY: 8}), init_containers=(init,)))
    uuid = the_gpu(found)
    assert real_node.environment("larger", "prepare")["NVIDIA_VISIBLE_DEVICES"] == uuid
    assert real_node.environment("larger")["GPUPACK_GPU_MEM_MIB"] == "8192"
    assert real_node.given()["larger"] == {"main": {uuid: 8}}
    assert real_node.account(found) == {uuid: 12}
    real_node.wait_charged("larger", {uuid: 12})


def test_a_sidecar_keeps_its_units_beside_the_app_container(real_node: RealNode) -> None:
    """5 for the sidecar and 8 for the app are 13; with a plain init container of 20 before them still 20."""
    sidecar = container("cache", {MEMORY: 5}, restart_policy="Always")
    found = real_node.run(pod("sidecar", container(limits={MEMORY: 8}), init_containers=(sidecar,)))
    uuid = the_gpu(found)
    assert real_node.given()["sidecar"] == {"cache": {uuid: 5}, "main": {uuid: 8}} == placed(found)
    assert real_node.account(found) == {uuid: 13}
    real_node.wait_charged("sidecar", {uuid: 13})
    init = container("prepare", {MEMORY: 20}, arguments=("-for=100ms",))
    both = real_node.run(pod("both", container(limits={MEMORY: 8}), init_containers=(init, sidecar)))
    uuid = the_gpu(both)
    assert real_node.account(both) == {uuid: 20}
    real_node.wait_charged("both", {uuid: 20})
    assert real_node.environment("both", "cache")["NVIDIA_VISIBLE_DEVICES"] == uuid


@pytest.mark.parametrize("count", [2, 4])
def test_gpu_count_spreads_evenly_over_gpus(real_node: RealNode, count: int) -> None:
    """Each GPU gives the same, and the container sees all of them."""
    found = real_node.run(share("spread", 20 * count, annotations={NAMES.count_annotation: str(count)}))
    assert sorted(placed(found)["main"].values()) == [20] * count
    seen = real_node.environment("spread")
    assert set(seen["NVIDIA_VISIBLE_DEVICES"].split(",")) == set(placed(found)["main"])
    assert seen["GPUPACK_GPU_MEM_MIB_PER_GPU"].split(",") == ["20480"] * count
    real_node.wait_agreed()


def test_whole_gpus_and_shares_live_on_one_node_but_never_on_one_gpu(real_node: RealNode) -> None:
    """Seven A100 whole and one shared: an eighth whole one is refused, and shares fill only the shared one."""
    first = real_node.run(share("share", 8, annotations=ON_A100))
    seven = real_node.run(whole("whole", 7, annotations=ON_A100))
    assert set(real_node.environment("whole")["NVIDIA_VISIBLE_DEVICES"].split(",")) == set(placed(seven)["main"])
    assert len(placed(seven)["main"]) == 7
    assert the_gpu(first) not in placed(seven)["main"]
    real_node.create(whole("eighth", 1, annotations=ON_A100))
    real_node.api.wait_unschedulable(NAMESPACE, "eighth", "no idle GPU for a whole-GPU request")
    assert the_gpu(real_node.run(share("rest", 72, annotations=ON_A100))) == the_gpu(first)
    real_node.create(share("more", 1, annotations=ON_A100))
    real_node.api.wait_unschedulable(NAMESPACE, "more")
    for name in ("eighth", "more"):
        real_node.delete(name)
    real_node.wait_agreed()


def test_a_pod_gets_the_model_it_names_and_a_gpu_of_the_size_it_needs(real_node: RealNode) -> None:
    """16 units are more than the small GPUs have; patterns accept or refuse a model whatever would be tighter."""
    models = {uuid: gpu["model"] for uuid, gpu in real_node.gpus().items()}
    assert models[the_gpu(real_node.run(share("large", 16)))] == "NVIDIA A100-SXM4-80GB"
    assert models[the_gpu(real_node.run(share("picked", 2, annotations=ON_A100)))] == "NVIDIA A100-SXM4-80GB"
    assert models[the_gpu(real_node.run(share("small", 15, annotations=NOT_A100)))] == "Tesla T4"


def test_a_container_that_restarts_in_place_keeps_its_gpu_without_a_new_allocate(real_node: RealNode) -> None:
    """The process is another one; kubelet, annotation and environment say the same as before."""
    # Long enough for the kubelet, which looks once a second, to see the first process run.
    spec = container(limits={MEMORY: 8}, arguments=("-for=5s", "-exit=1"))
    before = real_node.run(pod("again", spec, restartPolicy="Always"))
    allocated = real_node.plugin.count("gpupack_plugin_allocations_total", resource=MEMORY)

    def restarted() -> bool:
        return bool(real_node.pod("again")["status"]["containerStatuses"][0]["restartCount"])

    wait_until(restarted, what="the container to restart", timeout_s=120)
    wait_until(
        lambda: real_node.kubelet.log_of(NAMESPACE, "again", "main").count("HOME=") >= 2, what="the second process"
    )
    seen = real_node.kubelet.log_of(NAMESPACE, "again", "main").splitlines()
    assert seen.count(f"NVIDIA_VISIBLE_DEVICES={the_gpu(before)}") == seen.count("HOME=/")
    assert real_node.plugin.count("gpupack_plugin_allocations_total", resource=MEMORY) == allocated
    assert placed(real_node.pod("again")) == placed(before) == real_node.given()["again"]


def test_lesson_18_an_unhealthy_gpu_is_not_given_out_and_comes_back(real_node: RealNode) -> None:
    """What is free of it leaves allocatable, its pod runs on, others go elsewhere, and then it is used again."""
    stays = real_node.run(share("stays", 40, annotations=ON_A100))
    uuid = the_gpu(stays)
    real_node.plugin.set_unhealthy([real_node.gpus()[uuid]["index"]])
    real_node.wait_allocatable(UNITS - 40, GPUS - 1)
    wait_until(lambda: not real_node.gpus()[uuid]["healthy"], what="the extender to know that the GPU is unhealthy")
    assert the_gpu(real_node.run(share("elsewhere", 40, annotations=ON_A100))) != uuid
    assert processes(real_node.pod("stays")) == processes(stays)
    real_node.plugin.set_unhealthy([])
    real_node.wait_allocatable(UNITS, GPUS)
    wait_until(lambda: real_node.gpus()[uuid]["healthy"], what="the extender to know that the GPU is well")
    real_node.delete("elsewhere")
    assert the_gpu(real_node.run(share("back", 40, annotations=ON_A100))) == uuid
    real_node.wait_agreed()


def refused_binding(real_node: RealNode) -> str:
    """Call bind as kube-scheduler does for a pod that the API server will not bind; what the extender answers."""
    gated = real_node.api.create_pod(NAMESPACE, share("gated", 8, schedulingGates=[{"name": "example.com/wait"}]))
    wait_until(lambda: real_node.explain("gated"), what="the extender to know the pod")
    call = {
        "PodName": "gated",
        "PodNamespace": NAMESPACE,
        "PodUID": gated["metadata"]["uid"],
        "Node": real_node.kubelet.node_name,
    }
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        pool.request("POST", f"{real_node.extender.url}/bind", json=call)
        wait_until(lambda: told(real_node, "gated"), what="the failure to be told")
        # The second failure is counted on the Event of the first.
        answer = pool.request("POST", f"{real_node.extender.url}/bind", json=call)
    return str(answer.json()["Error"])


def told(real_node: RealNode, name: str) -> list[str]:
    """Reasons of the extender's Events on a pod."""
    path = f"/api/v1/namespaces/{NAMESPACE}/events"
    events = real_node.api.get(path, fieldSelector=f"involvedObject.name={name}")["items"]
    return [event["reason"] for event in events if event["reportingComponent"] == "gpupack-extender"]


def test_a_binding_that_the_api_server_refuses_holds_nothing(real_node: RealNode) -> None:
    """The pod is read back to learn what became of it; its units are free again at once (lesson 15)."""
    assert "gpupack: API server: 409" in refused_binding(real_node)
    assert {(gpu["allocated"], gpu["held"]) for gpu in real_node.gpus().values()} == {(0, 0)}
    real_node.delete("gated")


def woken_pod(real_node: RealNode) -> str:
    """Refuse a pod, let room appear while no scheduler looks, and return its name once the extender touched it."""
    real_node.run(whole("all", 8, annotations=ON_A100))
    waits = real_node.create(share("waits", 8, annotations=ON_A100))
    real_node.api.wait_unschedulable(NAMESPACE, waits)
    real_node.control_plane.stop_scheduler()
    try:
        real_node.delete("all")
        wait_until(
            lambda: NAMES.retry_annotation in real_node.pod(waits)["metadata"].get("annotations", {}),
            what="the extender to wake the refused pod",
        )
    finally:
        real_node.start_scheduler()
    return waits


def test_lesson_16_the_extender_wakes_a_refused_pod_that_nobody_retries(real_node: RealNode) -> None:
    """A pod ends when kube-scheduler is not there to see it; the refused pod is touched, and runs."""
    waits = woken_pod(real_node)
    real_node.kubelet.wait_running(NAMESPACE, waits)


def looked_after(real_node: RealNode) -> str:
    """Let a pod with a claim pass filter and never come to bind; its name. Before its hold ends its claim is read."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    gates = [{"name": "example.com/wait"}]
    body = real_node.api.create_pod(NAMESPACE, share("claims", 1, schedulingGates=gates, volumes=volumes))
    call = {"Pod": body, "NodeNames": [real_node.kubelet.node_name]}
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        answer = pool.request("POST", f"{real_node.extender.url}/filter", json=call)
    assert answer.json()["NodeNames"] == call["NodeNames"]
    return "claims"


def told_twice(real_node: RealNode) -> None:
    """Let a GPU fall ill and recover twice, so that an Event is written, and then counted."""
    for _ in range(2):
        real_node.plugin.set_unhealthy([GPUS - 1])
        real_node.wait_allocatable(UNITS - 15, GPUS - 1)
        real_node.plugin.set_unhealthy([])
        real_node.wait_allocatable(UNITS, GPUS)

    wait_events(real_node, PLUGIN_ACCOUNT)


def wait_events(real_node: RealNode, account: str) -> None:
    """Wait until the account has written an Event, and counted one."""

    def verbs() -> set[str]:
        requests = real_node.control_plane.audited(SYSTEM, account)
        return {request.right.verb for request in requests if request.right.resource == "events"}

    wait_until(lambda: verbs() >= {"create", "patch"}, what=f"{account} to write Events", timeout_s=120)


def granted(manifest: Path) -> set[Right]:
    """Every right of the ClusterRoles in a manifest."""
    documents = yaml.safe_load_all(manifest.read_text(encoding="utf-8"))
    return {right for each in documents if each["kind"] == "ClusterRole" for right in rights_of(each["rules"])}


def test_each_right_of_the_manifests_is_used_and_none_is_lacking(real_node: RealNode) -> None:
    """Whatever a ClusterRole grants was used by now, and no request of extender or plugin was denied."""
    held = looked_after(real_node)
    refused_binding(real_node)
    woken_pod(real_node)
    told_twice(real_node)
    wait_events(real_node, EXTENDER_ACCOUNT)
    for account, manifest in ((EXTENDER_ACCOUNT, "extender-rbac.yaml"), (PLUGIN_ACCOUNT, "device-plugin-rbac.yaml")):
        requests = real_node.control_plane.audited(SYSTEM, account)
        assert [request for request in requests if not request.allowed] == []
        wait_until(
            lambda account=account, manifest=manifest: not superfluous(real_node, account, manifest),  # type: ignore[misc]
            what=f"{account} to have used each right of {manifest}",
            timeout_s=120,
        )
    real_node.delete(held)


def superfluous(real_node: RealNode, account: str, manifest: str) -> set[Right]:
    """What a manifest grants and the account has not used so far."""
    requests = real_node.control_plane.audited(SYSTEM, account)
    return granted(MANIFESTS / "base" / manifest) - {request.right for request in requests}
