"""Each GPU stands where its probes and its running containers prove it stands."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from device_plugin.enforcing.enforcing import HIDES_SHM, NO_MPS, NO_NVML, ON_MIG, Enforcer
from device_plugin.enforcing.mps import MpsControl
from device_plugin.pods.events import Events
from device_plugin.pods.pod import ContainerKey
from device_plugin.pods.store import PodStore
from device_plugin.settings import Rung
from device_plugin.usage.accounting.usage import ContainerUse, Usage
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, pod_body
from tests.fakes.limits import FakeAbilities, FakeProofs, FakeUsage
from tests.fakes.mps_control import FakeMpsDaemon
from tests.fakes.news import KeptNews

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MAIN = ContainerKey("uid-p", "main")


class Node:
    """An enforcer with everything around it made by hand; pod p has 8 units of GPU-a."""

    def __init__(
        self,
        mps: MpsControl | None = None,
        best: Rung = Rung.DRIVER,
        proofs: FakeProofs | None = None,
        mounts: Sequence[str] = (),
    ) -> None:
        self.abilities = FakeAbilities()
        self.usage = FakeUsage()
        pods = PodStore(Names(), UNIT_MIB)
        body = pod_body("p", {"main": {A: 8}}, mounts=mounts).replace(b"gpupack.io/allocation", b"gpupack.io/allocated")
        pods.merge([body])
        self.changes = 0
        self.news = KeptNews()
        self.enforcer = Enforcer(
            best=best,
            abilities=self.abilities,
            mps=mps,
            usage=self.usage,
            pods=pods,
            unit_mib=UNIT_MIB,
            interval_s=60.0,
            on_change=self._changed,
            events=Events(self.news, "n1"),
            proofs=proofs or FakeProofs(A, B),
        )

    def _changed(self) -> None:
        self.changes += 1

    def uses(self, *pids: int, cgroup: str = "/kubepods/p/main") -> None:
        """Pod p runs these processes."""
        self.usage.now = Usage((ContainerUse(MAIN, A, 1000, frozenset(pids), cgroup),))

    def rungs(self) -> dict[str, tuple[Rung, ...]]:
        """Probe, and the rungs of both GPUs."""
        self.enforcer.step([A, B])
        return {uuid: found.rungs for uuid, found in self.enforcer.standings([A, B]).items()}

    def why(self, uuid: GpuUuid = A) -> str:
        """Why that GPU is on no better rung."""
        return self.enforcer.standings([uuid])[uuid].why_not_better


def test_each_gpu_has_its_own_standing() -> None:
    """One driver, two GPUs, one of them in MIG mode."""
    node = Node()
    node.abilities.obstacles = {B: "MIG is enabled"}
    assert node.rungs() == {
        A: (Rung.DRIVER, Rung.WATCHED, Rung.ADVISORY),
        B: (Rung.WATCHED, Rung.ADVISORY),
    }
    assert (node.why(A), node.why(B)) == ("", f"driver: MIG is enabled; mps: {NO_MPS}")


def test_new_gpus_are_probed_when_they_are_first_asked_for() -> None:
    """So that nothing is published that is wrong a moment later."""
    assert Node().enforcer.standings([A])[A].rung is Rung.DRIVER


def test_a_gpu_that_cannot_be_measured_is_not_watched() -> None:
    """The text says why."""
    node = Node()
    node.abilities.obstacles = {A: "old driver"}
    node.usage.now = Usage(unknown={A: "NVML: no permission"})
    assert node.rungs()[A] == (Rung.ADVISORY,)
    assert node.why().endswith("watched: NVML: no permission")


def test_a_limit_that_the_toolkit_did_not_set_is_set_and_read_back() -> None:
    """Then the rung holds."""
    node = Node()
    node.uses(7)
    assert node.rungs()[A][0] is Rung.DRIVER
    assert node.abilities.limits == {(A, "/kubepods/p/main"): 8192}
    assert node.enforcer.unenforced == ()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("stuck", "container main: its limit is None MiB, expected 8192"),
        ("unreadable", "container main: its limit cannot be read back: ordered by the test"),
        ("nowhere", "container main: its cgroup is not known"),
    ],
)
def test_a_container_without_an_active_limit_takes_the_rung_from_its_gpu(how: str, words: str) -> None:
    """Nothing claims more than what is read back, and the container is named."""
    node = Node()
    node.uses(7, cgroup="" if how == "nowhere" else "/kubepods/p/main")
    if how == "stuck":
        node.abilities.stuck = {"/kubepods/p/main"}
    if how == "unreadable":
        node.abilities.unreadable = {"/kubepods/p/main"}
    assert node.rungs()[A] == (Rung.WATCHED, Rung.ADVISORY)
    assert words in node.why()
    assert [(item.key, item.rung) for item in node.enforcer.unenforced] == [((MAIN, A), Rung.DRIVER)]
    node.usage.now = Usage()
    assert node.rungs()[A][0] is Rung.DRIVER


def test_mps_needs_a_daemon_that_answers(tmp_path: Path) -> None:
    """While it does not, its rung is given up."""
    daemon = FakeMpsDaemon(tmp_path, {100: (7,)})
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), best=Rung.MPS)
    node.uses(7)
    assert node.rungs()[A] == (Rung.MPS, Rung.WATCHED, Rung.ADVISORY)
    assert (node.why(), node.enforcer.unenforced) == ("driver: turned off", ())
    daemon.end()
    assert node.rungs()[A] == (Rung.WATCHED, Rung.ADVISORY)
    assert "no MPS control daemon at" in node.why()


def test_mps_is_claimed_only_on_the_gpus_where_it_was_seen_to_hold(tmp_path: Path) -> None:
    """A daemon that answers is no proof; each GPU is tried once, and what came of it is told."""
    daemon = FakeMpsDaemon(tmp_path)
    proofs = FakeProofs(holds_on=(A,))
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), best=Rung.MPS, proofs=proofs)
    assert [found[0] for found in node.rungs().values()] == [Rung.WATCHED, Rung.WATCHED]
    assert node.why() == "driver: turned off; mps: not proven by the test"
    node.enforcer.prove(threading.Event())
    assert [found[0] for found in node.rungs().values()] == [Rung.MPS, Rung.WATCHED]
    node.enforcer.prove(threading.Event())
    assert proofs.attempts == [A, B]


def test_mps_is_not_tried_where_it_cannot_be_used_or_better_is_proven(tmp_path: Path) -> None:
    """A trial costs a context on the GPU: not under the driver's limits, without a daemon, before Volta, turned off."""
    daemon = FakeMpsDaemon(tmp_path)
    control = MpsControl(daemon.pipe_directory, str(daemon.program))
    proofs = FakeProofs()
    nodes = [
        Node(control, proofs=proofs),
        Node(MpsControl(tmp_path, str(daemon.program)), best=Rung.MPS, proofs=proofs),
        Node(control, best=Rung.MPS, proofs=proofs),
        Node(control, best=Rung.WATCHED, proofs=proofs),
    ]
    nodes[2].abilities.capability = (6, 1)
    for node in nodes:
        node.rungs()
        node.enforcer.prove(threading.Event())
    assert proofs.attempts == []


def test_a_mig_device_is_watched_and_no_more(tmp_path: Path) -> None:
    """Neither driver nor MPS hold shares of it, and MPS is not tried there."""
    daemon, proofs, uuid = FakeMpsDaemon(tmp_path), FakeProofs(), GpuUuid("MIG-1")
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), proofs=proofs)
    node.abilities.obstacles = {uuid: "MIG is enabled"}
    node.enforcer.step([uuid])
    node.enforcer.prove(threading.Event())
    found = node.enforcer.standings([uuid])[uuid]
    assert (found.rungs, proofs.attempts) == ((Rung.WATCHED, Rung.ADVISORY), [])
    assert found.why_not_better == f"driver: MIG is enabled; mps: {ON_MIG}"


def test_a_process_that_is_no_client_of_mps_is_named(tmp_path: Path) -> None:
    """It is read back from the daemon's list of clients."""
    daemon = FakeMpsDaemon(tmp_path, {100: (7,)})
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), best=Rung.MPS)
    node.uses(7, 8)
    node.rungs()
    assert [(item.key, item.why) for item in node.enforcer.unenforced] == [
        ((MAIN, A), "processes [8] are not MPS clients")
    ]


def test_a_container_that_hides_the_memory_of_mps_is_told_so(tmp_path: Path) -> None:
    """Its user can mend that; that its processes are no clients is the consequence."""
    daemon = FakeMpsDaemon(tmp_path, {100: (7,)})
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), best=Rung.MPS, mounts=("/dev/shm",))
    node.uses(8)
    node.rungs()
    assert [item.why for item in node.enforcer.unenforced] == [HIDES_SHM]
    assert [news.reason for news in node.news.news] == ["GPUMemoryNotLimited"]


def test_a_gpu_takes_48_clients_of_mps(tmp_path: Path) -> None:
    """The next container is not promised a limit."""
    daemon = FakeMpsDaemon(tmp_path, {100: tuple(range(48))})
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), best=Rung.MPS)
    node.uses(*range(48))
    assert node.rungs() == {A: (Rung.WATCHED, Rung.ADVISORY), B: (Rung.MPS, Rung.WATCHED, Rung.ADVISORY)}
    assert "48 MPS clients, at most 48 are possible" in node.why()


def test_only_clients_count_among_the_48(tmp_path: Path) -> None:
    """Processes that do not go through MPS take none of its places."""
    daemon = FakeMpsDaemon(tmp_path, {100: (7,)})
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)), best=Rung.MPS)
    node.uses(*range(60))
    assert node.rungs()[A][0] is Rung.MPS


def test_under_the_drivers_limits_no_container_needs_to_be_a_client_of_mps(tmp_path: Path) -> None:
    """The rung that its GPU stands on holds it."""
    daemon = FakeMpsDaemon(tmp_path, {100: (7,)})
    node = Node(MpsControl(daemon.pipe_directory, str(daemon.program)))
    node.uses(8)
    assert (node.rungs()[A][0], node.enforcer.unenforced) == (Rung.DRIVER, ())


def test_a_container_without_a_share_is_held_to_none() -> None:
    """It got the GPU from others, or as a whole: there is no limit to read back."""
    node = Node()
    stranger = ContainerUse(ContainerKey("uid-q", "main"), A, 1000, frozenset({9}), "")
    node.usage.now = Usage((stranger,))
    assert (node.rungs()[A][0], node.enforcer.unenforced) == (Rung.DRIVER, ())


def test_simulated_gpus_are_advisory() -> None:
    """Nothing is claimed of GPUs that nobody can ask."""
    pods = PodStore(Names(), UNIT_MIB)
    enforcer = Enforcer(
        best=Rung.DRIVER,
        abilities=None,
        mps=None,
        usage=None,
        pods=pods,
        unit_mib=UNIT_MIB,
        interval_s=60.0,
        on_change=lambda: None,
    )
    found = enforcer.standings([A])[A]
    assert (found.rung, found.why_not_better.split("; ")[0]) == (Rung.ADVISORY, f"driver: {NO_NVML}")


def test_what_changes_is_said_once() -> None:
    """A rung that is lost or won on the node, a container that is not limited on its pod; the start is no news."""
    node = Node()
    node.abilities.obstacles = {A: "the driver is not there yet"}
    node.rungs()
    node.abilities.obstacles = {}
    node.rungs()
    assert node.news.said == []
    node.uses(7, cgroup="")
    for _ in range(2):
        node.rungs()
    assert node.news.said == [("Warning", "GPUEnforcement"), ("Warning", "GPUMemoryNotLimited")]
    node.usage.now = Usage()
    node.rungs()
    assert node.news.said[2:] == [("Normal", "GPUEnforcement")]
