"""`kubectl gpupack` on a cluster: `explain` names the true cause in ten planted situations, and `top` what is there."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner

from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.units import UnitMib
from extender.kubectl.cli import main
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, NAMES, T4, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]

QUOTA_FAILURE = (
    'pods "web-7d-x2" is forbidden: exceeded quota: gpus, requested: requests.gpupack.io/gpu-mem=8, '
    "used: requests.gpupack.io/gpu-mem=8, limited: requests.gpupack.io/gpu-mem=8"
)


def ask(environment: Environment, *arguments: str) -> Any:
    """What a command answers as JSON; it ends with 0."""
    words = [*arguments, "-o", "json", "--kubeconfig", str(environment.backend.admin)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(environment: Environment, pod: Mapping[str, Any], *arguments: str) -> dict[str, Any]:
    """Create the pod, wait until kube-scheduler has refused it, and explain it."""
    environment.client.create_pod(pod)
    name = pod["metadata"]["name"]
    environment.wait_refused(name)
    answer: dict[str, Any] = ask(environment, "explain", name, *arguments)
    assert answer["state"] == "pending"
    return answer


def known(environment: Environment, nodes: int) -> None:
    """Wait until the extender knows so many nodes."""
    wait_until(lambda: len(environment.extender_nodes()) == nodes, "the extender to know the nodes")


def hollow(environment: Environment, name: str, *specs: GpuSpec, **labels: str) -> None:
    """A node that exists in the API only."""
    environment.add_hollow_node(MachineSpec(name, specs, labels=labels))


def test_fragmented(start: Start) -> None:
    """60 GiB are free, no GPU has 40; two GPUs would do, and the end of either pod would."""
    environment = start()
    hollow(environment, "n0", *gpus(a100=2))
    known(environment, 1)
    for number in range(2):
        there = gpu_pod(f"there-{number}", {MEMORY: 50}, annotations={"gpupack.io/policy": "spread"})
        environment.client.create_pod(there)
        environment.wait_bound(f"there-{number}")
    answer = refused(environment, gpu_pod("waits", {MEMORY: 40}))
    assert answer["cause"] == "fragmented"
    assert "40Gi wanted on one GPU; largest free on one GPU: 30Gi, in all: 60Gi" in answer["why"]
    assert any(text.startswith('gpu-count: "2" (20Gi on each of 2 GPUs) fits now on n0') for text in answer["helps"])
    assert "a request of at most 30Gi fits now, on n0" in answer["helps"]
    assert any("there is room when default/there-0 (50Gi on n0) ends" in text for text in answer["helps"])
    assert [gpu["free"] for gpu in answer["gpus"]["n0"]] == ["30Gi", "30Gi"]


def test_model(start: Start) -> None:
    """The models that are there are named, and that any would do."""
    environment = start()
    hollow(environment, "n0", *gpus(a100=1))
    known(environment, 1)
    answer = refused(environment, gpu_pod("waits", {MEMORY: 8}, annotations={"gpupack.io/gpu-model": "H100*"}))
    assert answer["cause"] == "model"
    assert "has NVIDIA A100-SXM4-80GB" in answer["why"]
    assert "without the annotation gpupack.io/gpu-model it fits on 1 node with NVIDIA A100-SXM4-80GB" in answer["helps"]


def test_unhealthy(start: Start) -> None:
    """The GPU's own reason, from the device plugin."""
    environment = start()
    node = environment.add_node(MachineSpec("n0", gpus(a100=1, t4=1)))
    known(environment, 1)
    node.set_unhealthy([0])
    wait_until(lambda: not environment.extender_nodes()[0]["gpus"][0]["healthy"], "the GPU to be unhealthy")
    answer = refused(environment, gpu_pod("waits", {MEMORY: 40}))
    assert answer["cause"] == "unhealthy"
    assert answer["why"].startswith("GPUs that would fit are unhealthy (GPU 0: ")


def test_cordoned(start: Start) -> None:
    """With the command that undoes it; cordoning twice changes nothing, and the pod starts once it is undone."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(a100=1, t4=1)))
    known(environment, 1)
    assert [gpu["changed"] for gpu in ask(environment, "cordon", "n0/0")] == [True]
    assert [gpu["changed"] for gpu in ask(environment, "cordon", "n0/0")] == [False]
    wait_until(lambda: not environment.extender_nodes()[0]["gpus"][0]["healthy"], "the GPU to be cordoned")
    answer = refused(environment, gpu_pod("waits", {MEMORY: 40}))
    assert answer["cause"] == "gpu-cordoned"
    assert answer["helps"][0] == "kubectl gpupack uncordon n0/0"
    ask(environment, "uncordon", "n0/0")
    environment.wait_bound("waits")
    placed = ask(environment, "explain", "waits")
    assert (placed["state"], placed["node"], placed["allocated"][0]["units"]) == ("bound", "n0", 40)


def test_quota(start: Start) -> None:
    """There is no pod to explain: its Deployment is, by name, from what its ReplicaSet could not create."""
    environment = start()
    hollow(environment, "n0", *gpus(a100=1))
    if environment.backend.kind == "simulated":
        about = {"kind": "ReplicaSet", "namespace": "default", "name": "web", "uid": "u"}
        event = {
            "metadata": {"name": "web.1", "namespace": "default"},
            "involvedObject": about,
            "type": "Warning",
            "reason": "FailedCreate",
            "message": f"Error creating: {QUOTA_FAILURE}",
            "lastTimestamp": "2026-01-31T12:00:00Z",
        }
        environment.client.request("POST", "/api/v1/namespaces/default/events", event)
        answer = ask(environment, "explain", "web")
    else:
        answer = _with_a_real_quota(environment)
    assert (answer["state"], answer["cause"]) == ("not-created", "quota")
    assert "quota gpus: requests.gpupack.io/gpu-mem=8 requested" in answer["why"]
    assert "kubectl edit resourcequota gpus" in answer["helps"][0]


def _with_a_real_quota(environment: Environment) -> dict[str, Any]:
    client = environment.client
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.gpupack.io/gpu-mem": "4"}}}
    template = gpu_pod("web", {MEMORY: 8})
    del template["metadata"]["name"], template["spec"]["restartPolicy"]
    template["metadata"]["labels"] = {"app": "web"}
    deployment = {
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    quotas, deployments = "/api/v1/namespaces/default/resourcequotas", "/apis/apps/v1/namespaces/default/deployments"
    client.request("POST", quotas, quota)
    try:
        # Until its controller has counted once, the quota lets nothing be said.
        wait_until(lambda: "hard" in (client.find(f"{quotas}/gpus") or {}).get("status", {}), "the quota to be counted")
        client.request("POST", deployments, deployment)

        def failed() -> bool:
            path = "/api/v1/namespaces/default/events"
            events = client.list_all(path, fieldSelector="reason=FailedCreate")[0]
            return any("exceeded quota" in event["message"] for event in events)

        wait_until(failed, "the ReplicaSet to fail")
        by_kind: dict[str, Any] = ask(environment, "explain", "deployment/web")
        assert by_kind["subject"] == "Deployment default/web"
        by_name: dict[str, Any] = ask(environment, "explain", "web")
        return by_name
    finally:
        client.request("DELETE", f"{deployments}/web")
        client.request("DELETE", f"{quotas}/gpus")


def test_taint(start: Start) -> None:
    """The node with room is named with its taint; full and other nodes come after it."""
    environment = start()
    hollow(environment, "open", T4)
    hollow(environment, "dedicated", *gpus(a100=1))
    known(environment, 2)
    taint = {"key": "team", "value": "vision", "effect": "NoSchedule"}
    environment.client.patch_node("dedicated", {"spec": {"taints": [taint]}})
    environment.wait_scheduler_knows_nodes()
    answer = refused(environment, gpu_pod("waits", {MEMORY: 40}))
    assert answer["cause"] == "taint"
    assert "taint team=vision:NoSchedule" in answer["why"]
    assert [group["cause"] for group in answer["nodes"]] == ["taint", "too-large"]
    assert "a toleration of team=vision:NoSchedule" in answer["helps"][0]


@pytest.mark.parametrize("inventory", [False, True])
def test_no_plugin(start: Start, *, inventory: bool) -> None:
    """A node labelled as one with GPUs shows none, or its kubelet offers nothing any more."""
    environment = start()
    spec = MachineSpec("n0", gpus(a100=1), labels={"gpupack.io/gpu": "true"})
    annotations = {NAMES.inventory_annotation: spec.inventory().to_json()} if inventory else {}
    environment.client.create_node(spec.node_object({MEMORY: "0"} if inventory else {}, annotations))
    known(environment, 1)
    assert refused(environment, gpu_pod("waits", {MEMORY: 8}))["cause"] == "no-plugin"
    missing = "its kubelet offers no gpupack.io/gpu-mem" if inventory else "no annotation gpupack.io/inventory"
    # The real control plane has the DaemonSet, whose pod comes by and by, and waits there for a kubelet.
    plugin = (
        "its device plugin gpupack-system/gpupack-device-plugin-"
        if environment.backend.kind == "real"
        else "no device plugin pod is there"
    )
    wait_until(lambda: f"{missing}; {plugin}" in ask(environment, "explain", "waits")["why"], "both to be named")
    environment.remove_node("n0")


def test_unit_mismatch(start: Start) -> None:
    """The node whose device plugin counts in other units is named with both units."""
    environment = start()
    environment.add_hollow_node(MachineSpec("n0", gpus(t4=2)))
    other = MachineSpec("n1", gpus(a100=1))
    environment.client.create_node(other.hollow_node_object(NAMES, UnitMib(512)))
    known(environment, 2)
    answer = refused(environment, gpu_pod("waits", {MEMORY: 40}))
    assert answer["cause"] == "unit-mismatch"
    assert "units of 512 MiB there, 1024 MiB in the installation" in answer["why"]
    assert answer["helps"][0] == "start the device plugin of n1 with --memory-unit-mib=1024"


def test_held_for_another_pod_of_a_burst(start: Start) -> None:
    """Nothing is bound and the GPU looks free: the extender knows for whom; without it, who may be is named."""
    environment = start(extender_arguments=("--hold-s", "200"))
    hollow(environment, "n0", *gpus(a100=1))
    known(environment, 1)
    # Filtered by hand and never bound: what a scheduler does between the two, held still.
    first = environment.client.create_pod(gpu_pod("first", {MEMORY: 60}, schedulerName="by-hand"))
    body = json.dumps({"Pod": first, "Nodes": None, "NodeNames": ["n0"]})
    answered = urllib3.request("POST", f"{environment.extender.url}/filter", body=body, timeout=10)
    assert json.loads(answered.data)["NodeNames"] == ["n0"]
    guessed = refused(environment, gpu_pod("second", {MEMORY: 40}))
    assert guessed["cause"] == "held"
    assert any(fact.endswith("on their way there: default/first") for fact in guessed["facts"])
    sure = ask(environment, "explain", "second", "--extender", environment.extender.url)
    assert sure["cause"] == "held"
    assert "held for default/first (60Gi of n0/0)" in sure["facts"]
    own = ask(environment, "explain", "first", "--extender", environment.extender.url)
    assert own["cause"] == "binding"
    held = ask(environment, "top", "--extender", environment.extender.url)["nodes"][0]["gpus"][0]
    assert (held["allocated"], held["held"]) == (0, 60)
    assert ask(environment, "top")["nodes"][0]["gpus"][0]["held"] is None


def test_no_extender(start: Start) -> None:
    """Nobody answers kube-scheduler: its own words say so, and the GPUs are not blamed."""
    environment = start()
    hollow(environment, "n0", *gpus(a100=1))
    known(environment, 1)
    environment.extender.kill()
    answer = refused(environment, gpu_pod("waits", {MEMORY: 8}))
    assert answer["cause"] == "no-extender"
    assert [group["cause"] for group in answer["nodes"]] == ["fits"]


def test_over_age_view(start: Start) -> None:
    """The extender has not heard from the API server for longer than it may: that is said, and no GPU reason."""
    environment = start(extender_arguments=("--stale-s", "2"))
    hollow(environment, "n0", *gpus(a100=1))
    known(environment, 1)
    # A quiet cluster's watches say nothing for a minute; a bookmark just then lets a pod through, and another is tried.
    for number in range(5):
        wait_until(lambda: environment.extender.get("/readyz")[0] == 503, "the view to be too old", timeout_s=60)
        environment.client.create_pod(gpu_pod(f"waits-{number}", {MEMORY: 8}))
        decided = environment.client.wait_for_pod(f"waits-{number}", _is_decided, "to be bound or refused")
        answer = ask(environment, "explain", f"waits-{number}")
        if not decided["spec"].get("nodeName") and answer["state"] == "pending":
            break
    assert answer["cause"] == "stale-view"
    assert "has lost touch with the API server" in answer["schedulerSaid"]


def _is_decided(pod: Mapping[str, Any]) -> bool:
    return bool(pod["spec"].get("nodeName") or pod["status"].get("conditions"))


def test_top_and_pods_show_what_the_extender_shows(start: Start) -> None:
    """Two ledgers made of the same lists agree, on every GPU and holder."""
    environment = start()
    environment.add_node(MachineSpec("n0", gpus(a100=2, t4=1)))
    hollow(environment, "n1", *gpus(t4=2))
    known(environment, 2)
    for number, units in enumerate((20, 30, 70, 8)):
        environment.client.create_pod(gpu_pod(f"p{number}", {MEMORY: units}))
        environment.wait_bound(f"p{number}")
    environment.wait_ledger(4)
    environment.client.create_pod(gpu_pod("waits", {MEMORY: 80}))
    environment.wait_refused("waits", "2 Insufficient gpupack.io/gpu-mem")

    def agree() -> bool:
        shown = {node["name"]: node["gpus"] for node in ask(environment, "top", "--no-used")["nodes"]}
        keys = ("uuid", "capacity", "allocated", "free", "healthy", "enforcement")
        theirs = {node["name"]: node["gpus"] for node in environment.extender_nodes()}
        return {name: [[gpu[key] for key in keys] for gpu in gpus] for name, gpus in shown.items()} == {
            name: [[gpu[key] for key in keys] for gpu in gpus] for name, gpus in theirs.items()
        }

    wait_until(agree, "both views to agree")
    pods = {pod["name"]: pod for pod in ask(environment, "pods")}
    assert {name for name, pod in pods.items() if pod["node"]} == {"p0", "p1", "p2", "p3"}
    assert pods["waits"]["whyItWaits"] == "2 Insufficient gpupack.io/gpu-mem"
