"""The scheduler loop calls an extender as kube-scheduler does and tells the API server the same things."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ApiAccess, ClusterClient
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.scheduler.queue import QueueSettings
from bench.simulated.scheduler.scheduler import SimulatedScheduler
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.names import Names
from tests.fakes.scripted_extender import ScriptedExtender

MEMORY = "gpupack.io/gpu-mem"
QUICK = QueueSettings(first_backoff_s=0.05, longest_backoff_s=0.2)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A fresh API server."""
    with ApiServer() as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[ClusterClient]:
    """A client of it, and three nodes of 16 units."""
    connected = ClusterClient(ApiAccess(server.url))
    for number in range(3):
        connected.create_node(MachineSpec(f"n{number}", (GpuSpec("T4", 16384),)).hollow_node_object(Names()))
    yield connected
    connected.close()


def _binder(client: ClusterClient) -> Callable[[Any], Any]:
    """A bind verb that binds."""

    def bind(body: Any) -> Any:
        client.bind_pod(body["PodName"], body["Node"], body["PodNamespace"], uid=body["PodUID"])
        return {"Error": ""}

    return bind


def _bound(client: ClusterClient, name: str) -> str:
    pod = client.wait_for_pod(name, lambda pod: bool(pod["spec"].get("nodeName")), "bound", timeout_s=30)
    return str(pod["spec"]["nodeName"])


def _condition(client: ClusterClient, name: str, reason: str) -> str:
    def matching(pod: dict[str, Any]) -> list[str]:
        conditions = pod["status"].get("conditions") or []
        return [entry["message"] for entry in conditions if entry.get("reason") == reason]

    return matching(client.wait_for_pod(name, lambda pod: bool(matching(pod)), reason, timeout_s=30))[0]


def test_calls_have_kube_schedulers_bodies_and_headers(client: ClusterClient) -> None:
    """Compared with the recorded ones: keys, nulls, header order; pods without kind."""
    with ScriptedExtender(bind=_binder(client)) as extender:
        with SimulatedScheduler(client, ExtenderClient(extender.url), QUICK):
            client.create_pod(gpu_pod("a", {MEMORY: 8}))
            node = _bound(client, "a")
        (filtered,), (scored,), (bound,) = (extender.calls(verb) for verb in ("filter", "prioritize", "bind"))
        headers = extender.requests[0][1]
    assert list(filtered) == list(scored) == ["Pod", "Nodes", "NodeNames"]
    assert (filtered["Nodes"], sorted(filtered["NodeNames"])) == (None, ["n0", "n1", "n2"])
    assert list(filtered["Pod"]) == ["metadata", "spec", "status"]
    assert bound == {
        "PodName": "a",
        "PodNamespace": "default",
        "PodUID": filtered["Pod"]["metadata"]["uid"],
        "Node": node,
    }
    assert [name for name, _ in headers] == ["Host", "User-Agent", "Content-Length", "Content-Type", "Accept-Encoding"]


def test_scores_decide_and_keys_are_matched_in_any_case(client: ClusterClient) -> None:
    """The extender's points outweigh the native ones."""
    answers = {
        "filter": lambda body: {"nodenames": body["NodeNames"], "error": ""},
        "prioritize": lambda body: [{"host": name, "score": 10 if name == "n1" else 0} for name in body["NodeNames"]],
    }
    with (
        ScriptedExtender(bind=_binder(client), **answers) as extender,
        SimulatedScheduler(client, ExtenderClient(extender.url), QUICK),
    ):
        client.create_pod(gpu_pod("a", {MEMORY: 8}))
        assert _bound(client, "a") == "n1"


def test_one_node_left_is_not_scored(client: ClusterClient) -> None:
    """And a pod that names no managed resource is nobody's business."""
    with ScriptedExtender(bind=_binder(client), filter=lambda _: {"NodeNames": ["n2"]}) as extender:
        with SimulatedScheduler(client, ExtenderClient(extender.url), QUICK):
            client.create_pod(gpu_pod("a", {MEMORY: 8}))
            client.create_pod(gpu_pod("plain", {"cpu": 1}))
            assert (_bound(client, "a"), bool(_bound(client, "plain"))) == ("n2", True)
        assert [verb for verb, *_ in extender.requests] == ["filter", "bind"]


def test_refusals_are_told_in_kube_schedulers_words(client: ClusterClient) -> None:
    """Equal reasons are counted; the condition and one Event say the same; the pod is asked about twice, not more."""
    text = "GPU memory is free but split over several GPUs"
    answers = {"filter": lambda body: {"FailedAndUnresolvableNodes": dict.fromkeys(body["NodeNames"], text)}}
    with (
        ScriptedExtender(**answers) as extender,
        SimulatedScheduler(client, ExtenderClient(extender.url), QUICK) as scheduler,
    ):
        client.create_pod(gpu_pod("a", {MEMORY: 8}))
        message = _condition(client, "a", "Unschedulable")
        wait_until(lambda: len(extender.calls("filter")) >= 2, "the second try")
        events = wait_until(
            lambda: [event for event in client.events_of("a") if event["count"] >= 2], "both tries to be told"
        )
        assert scheduler.calls["filter"] == 2
    assert message.startswith(
        f"0/3 nodes are available: 3 {text}. no new claims to deallocate, preemption: 0/3 nodes are available:"
    )
    assert [(event["reason"], event["message"]) for event in events] == [("FailedScheduling", message)]


def test_native_misfits_never_reach_the_extender(client: ClusterClient) -> None:
    """17 units fit on no node of 16."""
    with ScriptedExtender() as extender, SimulatedScheduler(client, ExtenderClient(extender.url), QUICK):
        client.create_pod(gpu_pod("a", {MEMORY: 17}))
        message = _condition(client, "a", "Unschedulable")
        assert extender.requests == []
    assert message.startswith(f"0/3 nodes are available: 3 Insufficient {MEMORY}.")


def test_assumed_pods_count_before_they_are_bound(client: ClusterClient) -> None:
    """Six pods of 8 on three nodes of 16: all are placed, two per node, though no watch has told of any."""
    with ScriptedExtender(bind=_binder(client)) as extender:
        with SimulatedScheduler(client, ExtenderClient(extender.url), QUICK):
            for number in range(6):
                client.create_pod(gpu_pod(f"p{number}", {MEMORY: 8}))
            nodes = sorted(_bound(client, f"p{number}") for number in range(6))
        ports = {port for verb, _, _, port in extender.requests if verb in ("filter", "prioritize")}
    assert nodes == ["n0", "n0", "n1", "n1", "n2", "n2"]
    assert len(ports) < 6


def test_a_deletion_wakes_a_refused_pod(client: ClusterClient) -> None:
    """The scheduler asks again as soon as an assigned pod has gone."""
    with (
        ScriptedExtender(bind=_binder(client)) as extender,
        SimulatedScheduler(client, ExtenderClient(extender.url), QUICK),
    ):
        for number in range(3):
            client.create_pod(gpu_pod(f"p{number}", {MEMORY: 16}))
            _bound(client, f"p{number}")
        client.create_pod(gpu_pod("late", {MEMORY: 16}))
        _condition(client, "late", "Unschedulable")
        client.delete_pod("p1", grace_s=0)
        assert _bound(client, "late")


@pytest.mark.parametrize("answer", [500, {"Error": "the view is too old"}])
def test_errors_are_scheduler_errors_and_are_tried_again(client: ClusterClient, answer: object) -> None:
    """With the text of Error, or with the status code where the body is lost."""
    failures = iter([answer, answer])
    with ScriptedExtender(bind=_binder(client)) as extender:
        honest = extender.answers["filter"]
        extender.answers["filter"] = lambda body: next(failures, None) or honest(body)
        with SimulatedScheduler(client, ExtenderClient(extender.url), QUICK):
            client.create_pod(gpu_pod("a", {MEMORY: 8}))
            assert _bound(client, "a")
            messages = [event["message"] for event in client.events_of("a") if event["reason"] == "FailedScheduling"]
    expected = (
        f"failed filter with extender at URL {extender.url}/filter, code 500"
        if answer == 500
        else "the view is too old"
    )
    assert messages == [expected]


def test_a_failed_bind_is_undone_and_tried_again(client: ClusterClient) -> None:
    """The room of the pod is given back, and it is scheduled again after a backoff."""
    bind = _binder(client)
    failures = iter([{"Error": "no room"}])
    with (
        ScriptedExtender(bind=lambda body: next(failures, None) or bind(body)) as extender,
        SimulatedScheduler(client, ExtenderClient(extender.url), QUICK) as scheduler,
    ):
        client.create_pod(gpu_pod("a", {MEMORY: 16}))
        assert _bound(client, "a")
        assert (scheduler.calls["bind"], scheduler.calls["bind errors"]) == (2, 1)
        wait_until(lambda: scheduler.pending() == 0, "nobody to be pending")


def test_a_high_priority_pod_evicts_a_lower_one(server: ApiServer, client: ClusterClient) -> None:
    """Native preemption: the extender is asked with the victims' UIDs, the victim goes, the pod takes its place."""
    del server
    client.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "high"}, "value": 9})

    def keep_one(body: Any) -> Any:
        return {"NodeNameToMetaVictims": {"n1": body["NodeNameToMetaVictims"]["n1"]}}

    with ScriptedExtender(bind=_binder(client), preempt=keep_one) as extender:
        with SimulatedScheduler(client, ExtenderClient(extender.url), QUICK):
            uids = {}
            for number in range(3):
                client.create_pod(
                    gpu_pod(f"low{number}", {MEMORY: 16}, nodeSelector={"kubernetes.io/hostname": f"n{number}"})
                )
                _bound(client, f"low{number}")
                uids[f"n{number}"] = (client.pod(f"low{number}") or {})["metadata"]["uid"]
            client.create_pod(gpu_pod("high", {MEMORY: 16}, priorityClassName="high"))
            client.wait_for_pod(
                "low1", lambda pod: bool(pod["metadata"].get("deletionTimestamp")), "marked", timeout_s=10
            )
            client.delete_pod("low1", grace_s=0)
            assert _bound(client, "high") == "n1"
        asked = extender.calls("preempt")[0]
    assert list(asked) == ["Pod", "NodeNameToVictims", "NodeNameToMetaVictims"]
    assert asked["NodeNameToMetaVictims"] == {
        node: {"Pods": [{"UID": uid}], "NumPDBViolations": 0} for node, uid in uids.items()
    }


def test_other_schedulers_pods_are_left_alone(client: ClusterClient) -> None:
    """Those for gpupack's own scheduler are served as those for the default one."""
    with (
        ScriptedExtender(bind=_binder(client)) as extender,
        SimulatedScheduler(client, ExtenderClient(extender.url), QUICK),
    ):
        client.create_pod(gpu_pod("other", {MEMORY: 16}, schedulerName="other"))
        for number in range(3):
            client.create_pod(gpu_pod(f"p{number}", {MEMORY: 8}, schedulerName="gpupack-scheduler"))
            _bound(client, f"p{number}")
        assert "nodeName" not in (client.pod("other") or {})["spec"]
    assert json.dumps(extender.calls("filter")).count('"other"') == 0


def test_a_pod_that_waits_for_its_volume_says_where_and_a_failure_takes_that_back(client: ClusterClient) -> None:
    """As kube-scheduler does in PreBind: the attempt fails with its own words, and the next one succeeds."""
    waiting = threading.Event()
    answers = ["no such volume", ""]

    def volumes(_pod: str, _node: str) -> str:
        assert waiting.wait(30)
        return answers.pop(0)

    claim = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    with (
        ScriptedExtender(bind=_binder(client), filter=lambda _: {"NodeNames": ["n2"]}) as extender,
        SimulatedScheduler(client, ExtenderClient(extender.url), QUICK, volumes),
    ):
        client.create_pod(gpu_pod("a", {MEMORY: 8}, volumes=claim))
        client.wait_for_pod("a", lambda pod: pod["status"].get("nominatedNodeName") == "n2", "nominated", timeout_s=30)
        waiting.set()
        assert _condition(client, "a", "SchedulerError") == "no such volume"
        assert _bound(client, "a") == "n2"
        assert [verb for verb, *_ in extender.requests] == ["filter", "filter", "bind"]
