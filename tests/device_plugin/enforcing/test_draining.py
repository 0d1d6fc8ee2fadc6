"""Clients of MPS are drained before their pod is killed, and never without need."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from device_plugin.enforcing.draining import MARGIN_S, Drainer
from device_plugin.enforcing.mps import MpsControl
from device_plugin.pods.pod import ContainerKey
from device_plugin.pods.store import PodStore
from device_plugin.usage.accounting.usage import ContainerUse, Usage
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, pod_body
from tests.fakes.limits import FakeUsage
from tests.fakes.mps_control import FakeMpsDaemon

A = GpuUuid("GPU-a")
ENDS_S = 1_800_000_000.0


class Node:
    """Pods p and q run clients 7 and 8 of one server; p has another process, 9, that is no client."""

    def __init__(self, folder: Path, *, terminating: str = "p", phase: str = "Running") -> None:
        self.daemon = FakeMpsDaemon(folder, {100: (7, 8)})
        for client in (7, 8):
            self.daemon.answer(f"terminate_client 100 {client}", "")
        pods = PodStore(Names(), UNIT_MIB)
        for name in "pq":
            body = json.loads(pod_body(name, {"main": {A: 8}}))
            if name == terminating:
                body["metadata"]["deletionTimestamp"] = datetime.fromtimestamp(ENDS_S, UTC).strftime(
                    "%Y-%m-%dT%H:%M:%SZ"
                )
            body["status"] = {"phase": phase}
            pods.merge([json.dumps(body).encode()])
        uses = [
            ContainerUse(ContainerKey(f"uid-{name}", "main"), A, 100, frozenset(pids))
            for name, pids in (("p", (7, 9)), ("q", (8,)))
        ]
        self.now_s = ENDS_S - 30
        self.drainer = Drainer(
            mps=MpsControl(self.daemon.pipe_directory, str(self.daemon.program), 10.0),
            usage=FakeUsage(Usage(tuple(uses))),
            pods=pods,
            clock_s=lambda: self.now_s,
        )

    def at(self, now_s: float) -> list[str]:
        """Look at that time, and what the daemon was told to end so far."""
        self.now_s = now_s
        self.drainer.step()
        return [command for command in self.daemon.commands() if command.startswith("terminate")]


def test_a_client_is_drained_shortly_before_its_pod_is_killed_and_once(tmp_path: Path) -> None:
    """Until then it may end by itself; other pods' clients and other processes are left alone."""
    node = Node(tmp_path)
    assert node.at(ENDS_S - MARGIN_S - 0.5) == []
    assert node.daemon.commands() == []
    assert node.at(ENDS_S - MARGIN_S) == ["terminate_client 100 7"]
    assert node.at(ENDS_S) == ["terminate_client 100 7"]


@pytest.mark.parametrize(("terminating", "phase"), [("", "Running"), ("p", "Succeeded")])
def test_pods_that_stay_and_pods_that_have_ended_are_left_alone(tmp_path: Path, terminating: str, phase: str) -> None:
    """Nothing is asked of the daemon."""
    node = Node(tmp_path, terminating=terminating, phase=phase)
    assert (node.at(ENDS_S), node.daemon.commands()) == ([], [])


def test_a_daemon_that_fails_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the kubelet does what it does."""
    node = Node(tmp_path)
    (node.daemon.pipe_directory / "terminate_client_100_7").unlink()
    node.at(ENDS_S)
    assert "answered 'terminate_client 100 7' with 'Cannot find MPS control daemon process'" in caplog.text
