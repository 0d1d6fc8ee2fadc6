"""The whole extender against a simulated API server that is late, behind a load balancer, or restored from a backup."""

from typing import Any

import pytest

from bench.simulated.apiserver.faults import Fault
from bench.simulated.waiting import wait_until
from tests.extender.objects import Json
from tests.extender.running import Api, Extender, events_of, gpu_of

HTML = b"<html><body>default backend - 404</body></html>"


def place(extender: Extender, body: Json) -> str:
    """Filter and bind, as kube-scheduler does at each try; what is wrong."""
    answer = extender.filter(body)
    if answer.get("NodeNames") != ["a"]:
        return str(answer)
    return extender.bind(body)


def bound_units(cluster: Api) -> int:
    """Units of the pods that the API server has on the node."""
    pods = [cluster.pod(name) for name in ("first", "second")]
    limits = [each["spec"]["containers"][0]["resources"]["limits"] for each in pods if each["spec"].get("nodeName")]
    return sum(int(each["gpupack.io/gpu-mem"]) for each in limits)


@pytest.mark.parametrize("body", [HTML, b"", b'{"kind":"Status","reason":"NotFound","message":"no such path"}'])
def test_everything_answers_404_for_a_while(cluster: Api, extender: Extender, body: bytes) -> None:
    """A load balancer without a backend: no pod is lost, and each is placed once the API server is back."""
    first, second = cluster.create_pod("first", 8), cluster.create_pod("second", 8)
    assert extender.filter(first)["NodeNames"] == ["a"]
    cluster.server.inject(Fault(path="/", status=404, body=body, times=100_000))
    assert extender.bind(first).endswith("the bind is being settled")
    assert "gpupack: pod" not in place(extender, second)
    cluster.server.heal()
    wait_until(lambda: place(extender, cluster.pod("first")) == "")
    wait_until(lambda: place(extender, cluster.pod("second")) == "")
    assert bound_units(cluster) == 16
    wait_until(lambda: gpu_of(extender)["allocated"] == 16)


def test_a_binding_that_arrives_late_gives_no_memory_twice(cluster: Api, extender: Extender) -> None:
    """It is void by then: the pod was touched, and another pod got its place."""
    first, second = cluster.create_pod("first", 16), cluster.create_pod("second", 16)
    cluster.server.inject(Fault(method="POST", path="/pods/first/binding", late_s=5.0, times=100))
    assert extender.filter(first)["NodeNames"] == ["a"]
    assert extender.bind(first).startswith("gpupack: API server: no answer")
    assert place(extender, second) == ""
    wait_until(lambda: cluster.server.late == 0)
    assert bound_units(cluster) == 16
    assert cluster.pod("first")["spec"].get("nodeName") is None


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 200, "body": b"<html>welcome</html>"},
        {"status": 201, "body": b"<html>welcome</html>", "carried_out": True},
        {"status": 201, "body": b'{"kind":"Status","sta', "carried_out": True},
        {"cut": True},
        {"status": 504, "carried_out": True},
        {"status": 503},
        {"status": 429},
    ],
    ids=["a page", "a page after the write", "half a status", "cut", "504 after the write", "503", "429"],
)
def test_a_strange_answer_to_a_binding_costs_nothing_visible(
    cluster: Api, extender: Extender, fault: dict[str, Any]
) -> None:
    """The pod is bound once and for all, and nothing but its placement is told."""
    first = cluster.create_pod("first", 8)
    cluster.server.inject(Fault(method="POST", path="/binding", **fault))
    assert place(extender, first) == ""
    assert cluster.pod("first")["spec"]["nodeName"] == "a"
    wait_until(lambda: events_of(cluster, "first"))
    assert events_of(cluster, "first") == [("Normal", "GpupackPlaced")]


def test_a_bind_without_a_filter_call_reads_the_pods_of_the_node(cluster: Api, extender: Extender) -> None:
    """After a restart or a pause, in one request, of which the API server understands the selector."""
    first, second = cluster.create_pod("first", 8), cluster.create_pod("second", 16)
    assert place(extender, first) == ""
    before = cluster.server.requests().count("GET /api/v1/pods")
    assert "not enough free GPU memory" in extender.bind(second)
    assert cluster.server.requests().count("GET /api/v1/pods") == before + 1


def test_a_write_between_filter_and_bind_costs_nothing_visible(cluster: Api, extender: Extender) -> None:
    """Nor does one that the watch has not shown yet."""
    first = cluster.create_pod("first", 8)
    assert extender.filter(first)["NodeNames"] == ["a"]
    patch = {"metadata": {"labels": {"note": "by somebody"}}}
    cluster.call("PATCH", "/api/v1/namespaces/default/pods/first", patch)
    assert extender.bind(first) == ""


@pytest.mark.parametrize("bump", [0, 1_000_000_000], ids=["not bumped", "bumped"])
def test_a_restored_storage_is_followed(cluster: Api, extender: Extender, bump: int) -> None:
    """What was bound after the backup holds nothing any more, and what was deleted is back; memory is given once."""
    first, second = cluster.create_pod("first", 10), cluster.create_pod("second", 10)
    assert place(extender, first) == ""
    wait_until(lambda: gpu_of(extender)["allocated"] == 10)
    backup = cluster.server.backup()
    cluster.delete_pod("first")
    wait_until(lambda: place(extender, second) == "")
    cluster.create_pod("third", 4)
    wait_until(lambda: gpu_of(extender)["allocated"] == 10)
    cluster.server.restore(backup, bump=bump)
    wait_until(lambda: [each["name"] for each in gpu_of(extender)["holders"]] == ["first"])
    assert cluster.pod("second")["spec"].get("nodeName") is None
    assert extender.filter(cluster.pod("second"))["NodeNames"] == []
    cluster.delete_pod("first")
    wait_until(lambda: place(extender, cluster.pod("second")) == "")
    wait_until(lambda: [each["name"] for each in gpu_of(extender)["holders"]] == ["second"])
