"""The simulated API server gives the answers of the real one: both are sent the same requests.

What the simulation is used for is only worth something as long as this holds.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import MERGE_PATCH, STRATEGIC_PATCH, ApiAccess, ClusterClient, FailureStatusError, pods_path
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.controlplane import ControlPlane

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
MEMORY = "gpupack.io/gpu-mem"
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"\d{2,}|(?<=object meta: )\d+")


@pytest.fixture(scope="module")
def real(control_plane: ControlPlane) -> Iterator[ClusterClient]:
    """A client of the real server, once it lets pods be created."""
    client = ClusterClient.from_kubeconfig(control_plane.admin_kubeconfig)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    wait_until(lambda: client.find(account), "the default service account")
    yield client
    client.close()


@pytest.fixture(scope="module")
def simulated() -> Iterator[ClusterClient]:
    """A client of the simulated server."""
    with ApiServer() as server:
        client = ClusterClient(ApiAccess(server.url))
        yield client
        client.close()


def _answer(client: ClusterClient, method: str, path: str, *, body: object, kind: str, query: dict[str, str]) -> Any:
    try:
        return client.request(method, path, body, content_type=kind, **query)
    except FailureStatusError as error:
        # The real server adds a diff of the spec to some texts; values that differ by nature are made equal.
        first = error.message.split("\n")[0]
        return error.status, error.reason, _NUMBER.sub("N", _UID.sub("UID", first))


def _both(
    servers: tuple[ClusterClient, ClusterClient],
    method: str,
    path: str,
    body: object = None,
    kind: str = "application/json",
    **query: str,
) -> tuple[Any, Any]:
    first, second = (_answer(client, method, path, body=body, kind=kind, query=query) for client in servers)
    return first, second


def _limits(**amounts: str) -> dict[str, Any]:
    pod = gpu_pod("invalid", {})
    pod["spec"]["containers"][0]["resources"] = {group: {MEMORY: amount} for group, amount in amounts.items()}
    return pod


_BOUND, _FREE = pods_path("default", "bound"), pods_path("default", "free")
_FAILURES: dict[str, tuple[Any, ...]] = {
    "bind a bound pod": ("POST", f"{_BOUND}/binding", {"metadata": {"name": "bound"}, "target": {"name": "n1"}}),
    "bind with another UID": (
        "POST",
        f"{_FREE}/binding",
        {"metadata": {"name": "free", "uid": "x"}, "target": {"name": "n1"}},
    ),
    "bind an old revision": (
        "POST",
        f"{_FREE}/binding",
        {"metadata": {"name": "free", "resourceVersion": "1"}, "target": {"name": "n1"}},
    ),
    "bind without a node": ("POST", f"{_FREE}/binding", {"metadata": {"name": "free"}, "target": {"kind": "Node"}}),
    "bind a gated pod": (
        "POST",
        f"{pods_path('default', 'gated')}/binding",
        {"metadata": {"name": "gated"}, "target": {"name": "n1"}},
    ),
    "bind no pod": (
        "POST",
        f"{pods_path('default', 'none')}/binding",
        {"metadata": {"name": "none"}, "target": {"name": "n1"}},
    ),
    "create what is there": ("POST", pods_path("default"), gpu_pod("free", {MEMORY: 1})),
    "a fraction of a device": ("POST", pods_path("default"), _limits(limits="500m")),
    "requests unlike limits": ("POST", pods_path("default"), _limits(limits="4", requests="2")),
    "requests without limits": ("POST", pods_path("default"), _limits(requests="2")),
    "a priority by number": ("POST", pods_path("default"), gpu_pod("p", {MEMORY: 1}, priority=5)),
    "a priority class that is not there": (
        "POST",
        pods_path("default"),
        gpu_pod("p", {MEMORY: 1}, priorityClassName="none"),
    ),
    "a pod of another namespace": (
        "POST",
        pods_path("default"),
        {**gpu_pod("p", {}), "metadata": {"name": "p", "namespace": "other"}},
    ),
    "patch another UID": ("PATCH", _FREE, {"metadata": {"uid": "x"}}, MERGE_PATCH),
    "patch the status of another UID": (
        "PATCH",
        f"{_FREE}/status",
        {"metadata": {"uid": "x"}, "status": {"phase": "Running"}},
        STRATEGIC_PATCH,
    ),
    "patch an old revision": ("PATCH", _FREE, {"metadata": {"resourceVersion": "1"}}, MERGE_PATCH),
    "patch the node's name": ("PATCH", _BOUND, {"spec": {"nodeName": "n2"}}, MERGE_PATCH),
    "patch nothing": ("PATCH", pods_path("default", "none"), {"metadata": {"labels": {"a": "b"}}}, MERGE_PATCH),
    "delete another UID": ("DELETE", _FREE, {"preconditions": {"uid": "x"}}),
    "delete nothing": ("DELETE", pods_path("default", "none")),
    "read nothing": ("GET", pods_path("default", "none")),
    "no such kind": ("GET", "/api/v1/nothing"),
    "no such method": ("PUT", "/api/v1/pods", {}),
}


@pytest.fixture(scope="module")
def servers(real: ClusterClient, simulated: ClusterClient) -> tuple[ClusterClient, ClusterClient]:
    """Both, with the same three pods."""
    for client in (real, simulated):
        client.create_pod(gpu_pod("free", {MEMORY: 1}))
        client.create_pod(gpu_pod("bound", {MEMORY: 1}))
        client.bind_pod("bound", "n1")
        client.create_pod(gpu_pod("gated", {MEMORY: 1}, schedulingGates=[{"name": "example.com/wait"}]))
    return real, simulated


@pytest.mark.parametrize("name", list(_FAILURES))
def test_failures_are_the_same(servers: tuple[ClusterClient, ClusterClient], name: str) -> None:
    """Code, reason and text."""
    first, second = _both(servers, *_FAILURES[name])
    assert isinstance(first, tuple)
    assert second == first


@pytest.mark.parametrize(
    "query",
    [
        {"fieldSelector": "spec.nothing=1"},
        {"fieldSelector": "spec.nodeName"},
        {"limit": "x"},
        {"resourceVersion": "99999999", "resourceVersionMatch": "NotOlderThan"},
        {"continue": "nonsense"},
    ],
)
def test_lists_that_cannot_be_answered_fail_alike(
    servers: tuple[ClusterClient, ClusterClient], query: dict[str, str]
) -> None:
    """Code and reason; the texts name Go's types."""
    first, second = _both(servers, "GET", "/api/v1/pods", **query)
    assert second[:2] == first[:2]


def _shape(pod: dict[str, Any]) -> dict[str, Any]:
    """What schedulers and kubelets look at, without what differs by nature."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod["status"]
    return {
        "generation": metadata.get("generation"),
        "annotations": metadata.get("annotations"),
        "labels": metadata.get("labels"),
        "grace": metadata.get("deletionGracePeriodSeconds"),
        "deleting": "deletionTimestamp" in metadata,
        "resources": spec["containers"][0]["resources"],
        "priority": (spec.get("priority"), spec.get("preemptionPolicy")),
        "scheduler": (spec.get("schedulerName"), spec.get("nodeName")),
        "tolerations": spec.get("tolerations"),
        "phase": (status.get("phase"), status.get("qosClass"), status.get("reason")),
        "conditions": [(entry["type"], entry["status"], entry.get("reason")) for entry in status.get("conditions", [])],
    }


def _life(client: ClusterClient) -> list[Any]:
    """The states of one pod from creation to its end."""
    path = pods_path("default", "life")
    states = [_shape(client.create_pod(gpu_pod("life", {MEMORY: 2, "cpu": "1"}, requests={"cpu": "100m"})))]
    uid = (client.pod("life") or {})["metadata"]["uid"]
    client.bind_pod("life", "n1", uid=uid, annotations={"a": "1"}, labels={"l": "2"})
    states.append(_shape(client.pod("life") or {}))
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    patch = {"metadata": {"uid": uid, "annotations": {"b": "2"}}, "status": running}
    states.append(_shape(client.patch_pod("life", patch, subresource="status")))
    before = (client.pod("life") or {})["metadata"]["resourceVersion"]
    again = client.patch_pod("life", {"metadata": {"annotations": {"a": "1"}}})
    states.append(again["metadata"]["resourceVersion"] == before)
    states.append(_shape(client.request("PATCH", path, {"status": {"phase": "Failed"}}, content_type=MERGE_PATCH)))
    states.append(_shape(client.delete_pod("life", grace_s=50) or {}))
    states.append(_shape(client.delete_pod("life", grace_s=20) or {}))
    client.delete_pod("life", grace_s=0)
    return [*states, client.pod("life")]


def test_a_pods_life_has_the_same_states(servers: tuple[ClusterClient, ClusterClient]) -> None:
    """Created, bound, running, patched with nothing new, deleted twice, gone."""
    real, simulated = servers
    expected = _life(real)
    assert _life(simulated) == expected


def _seen(client: ClusterClient) -> list[Any]:
    """What a kubelet's watch sees of a pod that is bound to its node, changes and goes."""
    start = client.list_all("/api/v1/pods")[1]
    client.create_pod(gpu_pod("watched", {MEMORY: 1}))
    client.bind_pod("watched", "n9")
    client.patch_pod("watched", {"metadata": {"labels": {"x": "y"}}})
    client.delete_pod("watched", grace_s=0)
    # The last that either watch has to show: it comes to the one unbound, and to the other bound.
    client.create_pod(gpu_pod("last", {MEMORY: 1}))
    client.bind_pod("last", "n9")
    found = []
    for selector in ("spec.nodeName=n9", "spec.nodeName="):
        query = {"resourceVersion": start, "timeoutSeconds": "60", "fieldSelector": selector}
        lines = client.stream("/api/v1/pods", read_timeout_s=60, **query)
        for line in lines:
            event = json.loads(line)
            if event["object"]["metadata"]["name"] == "last":
                break
            spec, labels = event["object"]["spec"], event["object"]["metadata"].get("labels")
            found.append((selector, event["type"], event["object"]["kind"], spec.get("nodeName"), labels))
        lines.close()
    return found


def test_selected_watches_see_the_same(servers: tuple[ClusterClient, ClusterClient]) -> None:
    """Objects enter and leave a selector as ADDED and DELETED."""
    real, simulated = servers
    expected = _seen(real)
    assert _seen(simulated) == expected


def test_nodes_keep_their_status_at_creation(servers: tuple[ClusterClient, ClusterClient]) -> None:
    """And a patch of the node leaves its status alone."""
    spec = MachineSpec("n7", labels={"a": "b"})
    answers = []
    for client in servers:
        node = client.create_node(spec.node_object({MEMORY: "10k"}))
        patched = client.patch_node(
            "n7", {"metadata": {"annotations": {"x": "y"}}, "status": {"capacity": {"cpu": "1"}}}
        )
        client.delete_node("n7")
        answers.append([node["status"]["allocatable"], node["spec"].get("taints"), patched["status"]["capacity"]])
    assert answers[1] == answers[0]
