"""`explain` finds what a name means, and says of placed pods why they are where they are."""

import json
from typing import Any

import pytest

from bench.simulated.client import ClusterClient
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from extender.contract.names import Names
from extender.kube.objects import Metadata
from extender.kubectl.cluster.surroundings import EventObject
from extender.kubectl.explaining.explanation import explained
from extender.kubectl.explaining.placed import explain_placed
from extender.kubectl.options import Output
from extender.kubectl.output.writing import written
from tests.extender.kubectl.commands.test_top import golden
from tests.extender.kubectl.conftest import Run
from tests.extender.kubectl.explaining.test_pending import FULL, waiting
from tests.extender.kubectl.views import on, refused, view
from tests.extender.objects import Json, allocation, mixed_node, node, pod, uuid

MEMORY = "gpupack.io/gpu-mem"


def text_of(body: Json, *events: EventObject, others: tuple[Json, ...] = (), unhealthy: tuple[str, ...] = ()) -> str:
    """What is said of a placed pod."""
    seen = view([node("a", 16, unhealthy=unhealthy)], [body, *others])
    record = seen.pod_records[0]
    found = explain_placed(seen, seen.pods[record.uid], record, events)
    return written(explained(found), Output.TABLE, colour=False)


def owned(name: str, kind: str, owner: str) -> dict[str, Any]:
    """A pod that a controller of some kind made."""
    body = gpu_pod(name, {MEMORY: 80})
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "x/v1", "kind": kind, "name": owner, "uid": f"uid-{owner}", "controller": True}
    ]
    return body


def test_a_placed_pod_says_where_by_which_policy_when_and_what_the_extender_said() -> None:
    """The Event of the decision is the reason; other Events follow."""
    placed = EventObject(Metadata(), "GpupackPlaced", "main gets 8 GiB of GPU-a-0 on a.", "Normal", 1)
    moved = EventObject(
        Metadata(), "GpupackMoved", "On a the kubelet gave ...", "Normal", 1, None, "2026-01-31T12:00:00Z"
    )
    assert text_of(on("p", 8, uuid("a", 0), "a", policy="binpack"), placed, moved) == golden("explain-placed")


def test_of_several_decisions_the_last_is_told() -> None:
    """As of a pod that was bound again after the first bind had failed."""
    first, last = (EventObject(Metadata(), "GpupackPlaced", text, "Normal", 1) for text in ("on b", "on a"))
    lines = text_of(on("p", 8, uuid("a", 0), "a"), first, last).splitlines()
    assert lines[1] == "  on a"
    assert "  on b" not in lines


def test_a_pod_on_an_unhealthy_gpu() -> None:
    """Its own status says that its devices are healthy, so that what they hold counts once."""
    ill = "GPU 0 is unhealthy (no reason given): it runs on there, and nothing new is placed"
    assert f"  {ill}" in text_of(on("p", 8, uuid("a", 0), "a"), unhealthy=(uuid("a", 0),)).splitlines()
    assert "unhealthy" not in text_of(on("p", 8, uuid("a", 0), "a"))


def test_a_pod_on_an_unhealthy_mig_device() -> None:
    """It has a name of its own."""
    body = mixed_node("a")
    inventory = body["metadata"]["annotations"]["gpupack.io/inventory"]
    body["metadata"]["annotations"]["gpupack.io/inventory"] = inventory.replace('"healthy":true', '"healthy":false')
    seen = view([body], [on("p", 4, "MIG-a-1-2", "a")])
    found = explain_placed(seen, seen.pods["uid-p"], seen.pod_records[0], ())
    assert found.facts[-1].startswith("GPU 1:2 is unhealthy (")


def test_a_pod_on_fewer_gpus_than_it_asks_for() -> None:
    """As after an outage of the API server under an older device plugin."""
    body = on("p", 8, uuid("a", 0), "a")
    body["metadata"]["annotations"]["gpupack.io/gpu-count"] = "2"
    lines = text_of(body).splitlines()
    assert "  its memory is on 1 of 2 GPUs (gpu-count): delete it, so that it is placed anew" in lines


def test_a_pod_that_somebody_bound_by_hand() -> None:
    """Nobody knows on which GPU it is, and that is said."""
    text = text_of(pod("p", 8, node="a"))
    assert text.startswith("pod default/p is placed: on a, bound without an allocation that can be read (by hand,")


def test_a_pod_that_another_scheduler_placed() -> None:
    """By its name, with the GPU that it is charged to; once the device plugin has reported, the GPU is shown."""
    ours = on("ours", 4, uuid("a", 0), "a", version=2)
    ours["spec"]["schedulerName"] = "gpupack-scheduler"
    past = pod("p", 8, node="a", schedulerName="default-scheduler")
    assert text_of(past, others=(ours,)).splitlines()[0] == (
        "pod default/p is placed: on a, placed past gpupack by default-scheduler; it is charged to the emptiest GPU "
        "(GPU-a-0) until the device plugin reports"
    )
    past["metadata"]["annotations"]["gpupack.io/allocated"] = allocation({"main": {uuid("a", 0): 8}})
    lines = text_of(past, others=(ours,)).splitlines()
    assert lines[0].endswith("by default-scheduler; its device plugin has reported on which GPU it is")
    assert any("Tesla T4" in line and "8Gi" in line for line in lines)


def test_a_placed_pod_whose_containers_do_not_run() -> None:
    """Not a matter of GPUs, but it is what the asker wants to know."""
    waits = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    statuses = [{"name": "main", "state": waits}, {"name": "other", "state": {"running": {}}}]
    starting = [{"name": "copy", "state": {"waiting": {"reason": "PodInitializing"}}}]
    status = {"phase": "Pending", "containerStatuses": statuses, "initContainerStatuses": starting}
    text = text_of({**on("p", 8, uuid("a", 0), "a"), "status": status})
    assert text.splitlines()[1] == "  container main does not run yet: ImagePullBackOff: no such image"
    assert text.count("does not run yet") == 1


def test_pods_that_ended_and_pods_without_gpus() -> None:
    """With the kubelet's words where it has any."""
    failed = {
        **on("p", 8, uuid("a", 0), "a"),
        "status": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no spare units"},
    }
    assert text_of(failed) == (
        "pod default/p has ended: it no longer holds anything\n"
        "  its kubelet says UnexpectedAdmissionError: no spare units\n"
        "  asks for 8Gi\n"
    )
    assert text_of(pod("p", node="a")).startswith("pod default/p is placed: on a; it asks for no GPU")


def test_a_waiting_pod_to_the_letter() -> None:
    """The cause, what would help, the nodes, the GPUs of the nearest ones, the scheduler's words."""
    nodes = (node("a", 16, 16), node("b", 8), node("cpu"))
    others = [on(f"p{at}", 10, uuid("a", at), "a") for at in range(2)]
    found = waiting(refused(pod("waits", 12), FULL), *others, nodes=nodes)
    assert written(explained(found), Output.TABLE, colour=False) == golden("explain-waiting")


@pytest.mark.parametrize("name", ["train", "pod/train", "po/train", "pods/train"])
def test_a_pod_by_its_name(client: ClusterClient, kubectl: Run, name: str) -> None:
    """With its kind or without; the Events of gpupack on it are shown."""
    client.create_node(MachineSpec("n1", (GpuSpec("Tesla T4", 15360),)).hollow_node_object(Names()))
    uid = client.create_pod(gpu_pod("train", {MEMORY: 80}))["metadata"]["uid"]
    event = {
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "train", "uid": uid},
        "type": "Warning",
        "reason": "GpupackUnplaceable",
        "message": "Does not fit.",
        "lastTimestamp": "2026-01-31T12:00:00Z",
        "count": 3,
    }
    client.request("POST", "/api/v1/namespaces/default/events", event)
    client.request(
        "POST",
        "/api/v1/namespaces/default/events",
        {**event, "metadata": {"name": "f", "namespace": "default"}, "reason": "Pulled"},
    )
    answer = json.loads(kubectl("explain", name, "-o", "json").stdout)
    assert (answer["cause"], answer["subject"]) == ("too-large", "pod default/train")
    assert answer["events"] == [
        {"at": "2026-01-31T12:00:00Z", "count": 3, "reason": "GpupackUnplaceable", "message": "Does not fit."}
    ]


def test_by_the_name_of_whatever_owns_the_pods(client: ClusterClient, kubectl: Run) -> None:
    """A kind of a training operator, which is not known here; the first of its pods that waits is explained."""
    client.create_node(MachineSpec("n1", (GpuSpec("Tesla T4", 15360),)).hollow_node_object(Names()))
    for number in range(3):
        client.create_pod(owned(f"bert-worker-{number}", "PyTorchJob", "bert"))
    answer = json.loads(kubectl("explain", "bert", "-o", "json").stdout)
    assert answer["subject"] == "pod default/bert-worker-0"
    assert answer["facts"][-1] == "2 more of its pods wait; this is one of them"


def test_a_name_that_nobody_reads_is_told_first(client: ClusterClient, kubectl: Run) -> None:
    """Of a pod that asks for nothing, by itself and by its owner, and of one that runs."""
    client.create_node(MachineSpec("n1", (GpuSpec("Tesla T4", 15360),)).hollow_node_object(Names()))
    misspelt = (
        "annotation gpupack.io/gpu-memory is not known to gpupack; did you mean the resource gpupack.io/gpu-mem in"
    )
    pods = {"nothing": owned("nothing", "PyTorchJob", "bert"), "runs": gpu_pod("runs", {MEMORY: 8}, nodeName="n1")}
    pods["nothing"]["spec"]["containers"][0]["resources"] = {}
    for body in pods.values():
        body["metadata"]["annotations"] = {"gpupack.io/gpu-memory": "8"}
        client.create_pod(body)
    for name in ("nothing", "bert", "runs"):
        answer = json.loads(kubectl("explain", name, "-o", "json").stdout)
        assert answer["facts"][0].startswith(misspelt), name
    assert json.loads(kubectl("explain", "bert", "-o", "json").stdout)["why"] == "it asks for no GPU"
