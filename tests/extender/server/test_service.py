"""The whole extender against the simulated API server: in this process, and as a process that is told to end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bench.simulated.apiserver.faults import Fault
from bench.simulated.processes import free_port
from bench.simulated.waiting import wait_until
from extender.kube.client import connect
from extender.kube.credentials import WriteHealth
from extender.server.service import Service
from tests.extender.objects import Json, raw
from tests.extender.running import ONCE_S, SETTINGS, Api, Extender, events_of, gpu_of, serving

IMPATIENT = replace(SETTINGS, stale_s=2.0)


def test_it_is_not_ready_before_both_lists_are_in(cluster: Api) -> None:
    """It listens at once, refuses honestly, and is ready when the API server has answered."""
    train = cluster.create_pod("train", 8)
    cluster.server.pause()
    service = Service(SETTINGS, connect(cluster.kubeconfig))
    service.start()
    running = Extender(service.port)
    try:
        assert running.ask("/readyz") == (503, b"the scheduler extender has not read the cluster yet\n")
        assert running.ask("/healthz")[0] == 200
        assert running.filter(train)["Error"] == "gpupack: the scheduler extender has not read the cluster yet"
        cluster.server.resume()
        wait_until(running.ready)
        assert running.filter(train)["NodeNames"] == ["a"]
    finally:
        cluster.server.resume()
        service.stop()


def test_a_pod_is_filtered_bound_and_seen_again(cluster: Api, extender: Extender) -> None:
    """Over HTTP on both sides; the watch then shows what was written."""
    train = cluster.create_pod("train", 8)
    assert extender.filter(train) == {"NodeNames": ["a"], "Error": ""}
    assert extender.bind(train) == ""
    assert cluster.pod("train")["spec"]["nodeName"] == "a"
    wait_until(lambda: gpu_of(extender)["held"] == 0)
    assert (gpu_of(extender)["allocated"], gpu_of(extender)["free"]) == (8, 8)
    assert json.loads(extender.ask("/v1/explain/default/train")[1])["state"] == "bound"
    assert extender.bind(train) == ""


def test_disruption_budgets_are_read_and_counted(cluster: Api, extender: Extender) -> None:
    """From the API server to the answer of preempt."""
    low = cluster.create_pod("low", 16)
    assert extender.filter(low)["NodeNames"] == ["a"]
    assert extender.bind(low) == ""
    urgent = {**cluster.create_pod("urgent", 16)}
    urgent["spec"]["priority"] = 9
    budget = {"metadata": {"name": "pdb"}, "spec": {"selector": {}}, "status": {"disruptionsAllowed": 0}}
    cluster.call("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
    offered = {"a": {"Pods": [{"UID": low["metadata"]["uid"]}], "NumPDBViolations": 0}}

    def violations() -> int:
        call = raw({"Pod": urgent, "NodeNameToMetaVictims": offered})
        answer = json.loads(extender.ask("/preempt", call)[1])["NodeNameToMetaVictims"]
        return int(answer["a"]["NumPDBViolations"]) if answer else 0

    wait_until(lambda: violations() == 1)


def test_without_the_right_to_read_budgets_all_else_works(cluster: Api) -> None:
    """Said once in the log; kube-scheduler's own count stands."""
    cluster.server.inject(Fault(path="/poddisruptionbudgets", times=1000, status=403))
    with serving(cluster, SETTINGS) as extender:
        body = cluster.create_pod("train", 8)
        assert extender.filter(body)["NodeNames"] == ["a"]


def test_what_is_decided_on_a_pod_is_told_as_events_on_it(cluster: Api, extender: Extender) -> None:
    """A refusal and a placement, each once, however often kube-scheduler asks."""
    first, second = cluster.create_pod("first", 12), cluster.create_pod("second", 8)
    assert extender.filter(first)["NodeNames"] == ["a"]
    assert extender.bind(first) == ""
    for _ in range(3):
        assert extender.filter(second)["NodeNames"] == []
    wait_until(lambda: events_of(cluster, "first") and events_of(cluster, "second"))
    assert events_of(cluster, "first") == [("Normal", "GpupackPlaced")]
    assert events_of(cluster, "second") == [("Warning", "GpupackUnplaceable")]
    (event,) = [
        event
        for event in cluster.call("GET", "/api/v1/namespaces/default/events")["items"]
        if event["involvedObject"]["name"] == "second"
    ]
    assert (event["message"], event["count"]) == (
        "Does not fit on the 1 node that kube-scheduler offered: not enough free GPU memory.",
        1,
    )


def test_a_pod_that_another_scheduler_places_is_told_of_once_by_all_extenders(cluster: Api) -> None:
    """With the GPU that it is charged to; the two replicas write one Event."""
    named = replace(SETTINGS, scheduler_names=("gpupack-scheduler",))
    with serving(cluster, named) as leader, serving(cluster, named) as standby:
        cluster.create_pod("past", 8)
        body = {"metadata": {"name": "past"}, "target": {"kind": "Node", "name": "a"}}
        cluster.call("POST", "/api/v1/namespaces/default/pods/past/binding", body)
        written = 'gpupack_extender_events_total{outcome="written"} 1.0'
        wait_until(lambda: written in leader.metrics() and written in standby.metrics())
    assert events_of(cluster, "past") == [("Warning", "GpupackBypassed")]
    (event,) = cluster.call("GET", "/api/v1/namespaces/default/events")["items"]
    assert "by default-scheduler or by hand" in event["message"]
    assert "charged to the emptiest GPU of a (GPU-a-0) until the device plugin reports" in event["message"]


def test_a_standby_that_sees_the_same_pods_tells_nothing(cluster: Api, extender: Extender) -> None:
    """Only the extender that answered the call keeps the record."""
    standby = Service(SETTINGS, connect(cluster.kubeconfig))
    standby.start()
    try:
        other = Extender(standby.port)
        wait_until(other.ready)
        train = cluster.create_pod("train", 8)
        assert extender.filter(train)["NodeNames"] == ["a"]
        assert extender.bind(train) == ""
        wait_until(lambda: gpu_of(other)["allocated"] == 8)
        wait_until(lambda: events_of(cluster, "train"))
        assert json.loads(other.ask("/v1/explain/default/train")[1])["decisions"] == []
        assert b'gpupack_extender_events_total{outcome="written"} 0.0' in other.ask("/metrics")[1]
    finally:
        standby.stop()
    assert events_of(cluster, "train") == [("Normal", "GpupackPlaced")]


def test_lesson_16_a_refused_pod_is_woken(cluster: Api, extender: Extender) -> None:
    """Its annotation changes when the pod that was in its way is gone; upkeep's own tests say how soon."""
    first, second = cluster.create_pod("first", 16), cluster.create_pod("second", 16)
    assert extender.filter(first)["NodeNames"] == ["a"]
    assert extender.bind(first) == ""
    assert extender.filter(second)["NodeNames"] == []
    cluster.delete_pod("first")
    wait_until(lambda: "gpupack.io/retry" in cluster.pod("second")["metadata"].get("annotations", {}))
    assert extender.filter(cluster.pod("second"))["NodeNames"] == ["a"]


def test_a_view_that_has_become_too_old_is_said(cluster: Api) -> None:
    """The API server falls silent: not ready, filter refuses with a constant text; then all is well again."""
    train = cluster.create_pod("train", 8)
    with serving(cluster, IMPATIENT) as extender:
        cluster.server.pause()
        try:
            wait_until(lambda: not extender.ready())
            text = "the scheduler extender has lost touch with the API server"
            assert extender.ask("/readyz") == (503, f"{text}\n".encode())
            assert extender.filter(train)["Error"] == f"gpupack: {text}"
        finally:
            cluster.server.resume()
        wait_until(extender.ready)
        # Two seconds without a turn on a busy machine, and it is too old again.
        wait_until(lambda: extender.filter(train).get("NodeNames") == ["a"])


def test_writes_that_stay_denied_turn_it_not_ready(
    cluster: Api, extender: Extender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view is fed well meanwhile: filter goes on, and a metric tells; the next good write ends it."""
    monkeypatch.setattr(WriteHealth, "STEADY_S", 0.0)
    train = cluster.create_pod("train", 8)
    assert extender.filter(train)["NodeNames"] == ["a"]
    cluster.server.inject(Fault(method="POST", path="/binding", status=401))
    assert "401" in extender.bind(train)
    status, text = extender.ask("/readyz")
    assert (status, text.startswith(b"POST pods/binding has failed for 0 s: 401")) == (503, True)
    assert b"gpupack_extender_writes_failing 1.0" in extender.ask("/metrics")[1]
    assert extender.filter(train)["NodeNames"] == ["a"]
    assert extender.bind(train) == ""
    assert extender.ready()


class Process:
    """`python -m extender` as a process of its own."""

    def __init__(self, kubeconfig: str, *options: str) -> None:
        command = [sys.executable, "-m", "extender", "--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0", *options]
        self.popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, bufsize=1)
        self.lines: list[Json] = []
        self.port = int(self.wait_for("listening on ").rpartition(" ")[2])

    def wait_for(self, start: str) -> str:
        """The log message that begins so."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["message"].startswith(start):
                return str(self.lines[-1]["message"])
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def end(self) -> None:
        """Whatever happened."""
        self.popen.kill()
        self.popen.wait(ONCE_S)
        assert self.popen.stderr is not None
        self.popen.stderr.close()


@pytest.fixture
def process(cluster: Api) -> Iterator[tuple[Process, Extender]]:
    """A process, and the address on which its health can be watched while it ends."""
    observe = free_port()
    running = Process(cluster.kubeconfig, "--observe-listen", f"127.0.0.1:{observe}")
    running.wait_for("ready: ")
    yield running, Extender(observe)
    running.end()


def test_lesson_9_sigterm_turns_not_ready_finishes_what_runs_and_exits_0(
    cluster: Api, process: tuple[Process, Extender]
) -> None:
    """A bind whose answer comes late is answered with the truth."""
    running, observer = process
    extender = Extender(running.port)
    train = cluster.create_pod("train", 8)
    assert extender.filter(train)["NodeNames"] == ["a"]
    assert observer.ready()
    cluster.server.inject(Fault(method="POST", path="/binding", delay_s=1.5))
    with ThreadPoolExecutor(1) as pool:
        bind = pool.submit(extender.bind, train)
        wait_until(lambda: any(path.endswith("/binding") for path in cluster.server.requests()))
        running.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: not observer.ready())
        assert observer.ask("/readyz") == (503, b"the scheduler extender is shutting down\n")
        assert bind.result(ONCE_S) == ""
    assert running.popen.wait(ONCE_S) == 0
    assert cluster.pod("train")["spec"]["nodeName"] == "a"


def test_a_process_that_is_stopped_and_continued_goes_on(process: tuple[Process, Extender]) -> None:
    """As a debugger, a checkpoint or a paused machine does it; it still ends with 0 at SIGTERM."""
    running, observer = process
    running.popen.send_signal(signal.SIGSTOP)
    os.waitpid(running.popen.pid, os.WUNTRACED)
    running.popen.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        running.popen.wait(0.7)
    wait_until(observer.ready)
    running.popen.send_signal(signal.SIGTERM)
    assert running.popen.wait(ONCE_S) == 0


def test_the_effective_settings_are_logged_once(process: tuple[Process, Extender]) -> None:
    """Before it listens; one JSON object per line."""
    lines = [line["message"] for line in process[0].lines if line["message"].startswith("settings: ")]
    assert len(lines) == 1
    assert "'hold_s': 30.0" in lines[0]


def test_each_decision_is_one_line_of_the_log(cluster: Api) -> None:
    """Who got what, when and why, as fields; written before the process ends."""
    process = Process(cluster.kubeconfig, "--log-level", "info")
    try:
        process.wait_for("ready: ")
        extender = Extender(process.port)
        train = cluster.create_pod("train", 8)
        assert extender.filter(train)["NodeNames"] == ["a"]
        assert extender.bind(train) == ""
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for("stopped")
    finally:
        process.end()
    (decision,) = [line["decision"] for line in process.lines if "decision" in line]
    expected = {"verdict": "bound", "namespace": "default", "pod": "train", "node": "a", "feasible": 1}
    assert {key: decision[key] for key in expected} == expected
    assert decision["uid"] == train["metadata"]["uid"]
    assert decision["gpus"] == {"main": {"GPU-a-0": 8}}


def test_kill_minus_9_loses_nothing(cluster: Api) -> None:
    """A second process knows from the API server alone what the first one gave out."""
    first = Process(cluster.kubeconfig)
    train, other = cluster.create_pod("train", 8), cluster.create_pod("other", 12)
    try:
        first.wait_for("ready: ")
        extender = Extender(first.port)
        assert extender.filter(train)["NodeNames"] == ["a"]
        assert extender.bind(train) == ""
    finally:
        first.end()
    second = Process(cluster.kubeconfig)
    try:
        second.wait_for("ready: ")
        extender = Extender(second.port)
        assert extender.filter(other)["NodeNames"] == []
        assert gpu_of(extender)["allocated"] == 8
        assert extender.bind(train) == ""
    finally:
        second.end()
    assert raw(cluster.pod("other")["spec"]).find(b"nodeName") == -1
