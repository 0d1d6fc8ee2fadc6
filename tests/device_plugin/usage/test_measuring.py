"""The newest measurement: what it holds, how it ages, and what remains of it when the driver fails."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from device_plugin.gpus.gpu import CLOSED, NO_ANSWER, GpuSourceClosedError, GpuSourceError, GpuSourceStalledError
from device_plugin.gpus.readings import GpuFacts, GpuProcess, GpuReading
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.usage.accounting.processes import ProcessOwner
from device_plugin.usage.accounting.usage import Usage
from device_plugin.usage.measuring import HIDDEN, NO_PODS, STRAY, UNLISTED, Meter
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import placed, pod

A = GpuUuid("GPU-a")
MIB = 1024 * 1024
KEY = ContainerKey("uid-p", "main")


class Node:
    """Readings, owners and pods that the test sets, and a meter over them."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.problem = ""
        self.is_stalled = False
        self.is_shut = False
        self.sampled_mib: int | None = None
        self.obstacle_text = ""
        self.sizes_mib: dict[int, int] = {}
        self.used_mib: int | None = None
        self.owners: dict[int, ProcessOwner] = {}
        self.reads = 0
        self.closed = False
        bound = replace(pod("p", allocated={"main": placed(a=8)}), container_ids={"id": "main"})
        self.pods: dict[str, BoundPod] | None = {bound.uid: bound}
        self.meter = Meter(
            source=self,
            locator=self,
            pods=lambda: self.pods,
            interval_s=5.0,
            clock_s=lambda: self.now_s,
            sampled=lambda: [] if self.sampled_mib is None else [GpuReading(A, self.sampled_mib * MIB, 0)],
        )

    def read(self) -> tuple[GpuReading, ...]:
        self.reads += 1
        if self.is_shut:
            raise GpuSourceClosedError
        if self.is_stalled:
            raise GpuSourceStalledError
        if self.problem:
            raise GpuSourceError(self.problem)
        processes = tuple(GpuProcess(pid, size * MIB) for pid, size in self.sizes_mib.items())
        used_bytes = None if self.used_mib is None else self.used_mib * MIB
        return (GpuReading(A, used_bytes, 0, processes=processes),)

    def facts(self) -> tuple[GpuFacts, ...]:
        return (GpuFacts(A, "0000:3b:00.0"),)

    def close(self) -> None:
        self.closed = True

    def obstacle(self) -> str:
        return self.obstacle_text

    def locate(self, pids: Iterable[int]) -> Mapping[int, ProcessOwner]:
        return {pid: self.owners[pid] for pid in pids if pid in self.owners}

    def run(self, pid: int, size_mib: int, owner: ProcessOwner = ProcessOwner("uid-p", "id")) -> None:  # noqa: B008 - a value
        """A process starts, or grows, and it is measured."""
        self.sizes_mib[pid], self.owners[pid] = size_mib, owner
        self.meter.step()


@pytest.fixture
def node() -> Node:
    """One GPU, one pod."""
    return Node()


def test_the_first_question_measures(node: Node) -> None:
    """Whoever asks before the loop runs gets an answer; later ones only look."""
    node.sizes_mib, node.owners = {1: 1000}, {1: ProcessOwner("uid-p", "id")}
    usages = [node.meter.usage() for _ in range(3)]
    assert ([use.used_mib for use in usages[0].uses], usages[0].problem, node.reads) == ([1000], "", 1)
    assert usages[1:] == usages[:1] * 2


def test_peaks_last_as_long_as_the_pod(node: Node) -> None:
    """The most that was seen."""
    for size_mib in (1000, 3000, 2000):
        node.run(1, size_mib)
    assert node.meter.newest.peaks_mib == {(KEY, A): 3000}
    node.pods, node.sizes_mib = {}, {}
    node.meter.step()
    assert node.meter.newest.peaks_mib == {}


def test_an_nvml_that_cannot_start_is_a_problem_and_no_measurement(node: Node) -> None:
    """Tried again, with longer and longer pauses."""
    node.problem = "no driver"
    assert node.meter.usage() == Usage(problem="no driver")
    waits_s = [node.meter.step() for _ in range(64)]
    assert (waits_s[0] <= 2.0, 10.0 <= max(waits_s) <= 30.0) == (True, True)
    node.problem = ""
    assert (node.meter.step(), node.meter.newest.problem) == (5.0, "")


def test_a_driver_that_fails_later_leaves_what_was_seen(node: Node) -> None:
    """Peaks, facts and what is outside; nobody's use is claimed any more."""
    node.run(1, 1000)
    node.run(2, 500, ProcessOwner())
    node.problem = "gone"
    node.meter.step()
    newest = node.meter.newest
    assert (newest.uses, dict(newest.unknown), newest.problem) == ((), {A: "gone"}, "gone")
    assert (newest.peaks_mib, newest.outside_mib, list(newest.facts)) == ({(KEY, A): 1000}, {A: 500}, [A])


def test_a_driver_that_hangs_is_noticed(node: Node) -> None:
    """By the age of the last measurement."""
    node.run(1, 1000)
    node.now_s += 15.0
    before = node.meter.usage()
    node.now_s += 2.0
    assert (before.unknown, node.meter.usage()) == ({}, Usage(unknown={A: NO_ANSWER}))


def test_a_call_that_does_not_return_leaves_no_current_values(node: Node) -> None:
    """It is tried again after the usual time."""
    node.run(1, 1000)
    node.is_stalled = True
    assert [node.meter.step() for _ in range(10)] == [5.0] * 10
    assert node.meter.usage() == Usage(unknown={A: NO_ANSWER})
    node.is_stalled = False
    node.meter.step()
    assert [use.used_mib for use in node.meter.usage().uses] == [1000]


def test_before_the_pods_are_known_nothing_is_outside(node: Node) -> None:
    """After a restart of the plugin, for the time until it has read them."""
    node.pods = None
    node.run(1, 1000)
    assert (node.meter.usage(), node.meter.newest.outside_mib) == (Usage(unknown={A: NO_PODS}), {})


def test_processes_that_cannot_be_looked_up_are_noticed_the_second_time(node: Node) -> None:
    """The first time they may just have ended."""
    node.sizes_mib = {1: 1000}
    unknown = []
    for _ in range(2):
        node.meter.step()
        unknown.append(dict(node.meter.newest.unknown))
    assert unknown == [{}, {A: HIDDEN}]


def test_memory_that_nobody_is_seen_to_use_is_outside_when_it_lasts(node: Node) -> None:
    """In addition to what is seen outside; a jump that the next measurement takes back is none."""
    found = []
    for used_mib in (1500, 13500, 1500, 13500, 13500, 13500, 1500):
        node.used_mib = used_mib
        node.run(1, 1000)
        node.run(2, 500, ProcessOwner())
        found.append(node.meter.newest.outside_mib[A])
    assert found == [500, 500, 500, 500, 12500, 12500, 500]


def test_memory_in_another_pid_namespace_is_outside(node: Node) -> None:
    """Its process is listed and not in /proc."""
    node.run(1, 1000)
    node.sizes_mib[2] = 12288
    for _ in range(3):
        node.meter.step()
    assert node.meter.newest.outside_mib == {A: 12288}


def test_without_a_way_to_look_up_processes_what_exceeds_all_shares_is_outside(node: Node) -> None:
    """The pod has 8 GiB; what is within them is not blamed on anybody else."""
    node.obstacle_text, node.used_mib = "no hostPID", 8192
    node.run(1, 8192)
    assert node.meter.newest.outside_mib == {A: 0}
    node.used_mib = 12288
    for _ in range(3):
        node.meter.step()
    assert node.meter.newest.outside_mib == {A: 4096}


def test_a_process_in_none_of_its_pods_containers_is_in_doubt_after_a_while(node: Node) -> None:
    """At first the pod's status may not name the container yet."""
    unknown, used = [], []
    for _ in range(2):
        node.run(1, 1000, ProcessOwner("uid-p", "id-sandbox"))
        unknown.append(dict(node.meter.newest.unknown))
        used.append([use.used_mib for use in node.meter.newest.uses])
        node.now_s += 30.0
    assert (unknown, used) == ([{}, {A: STRAY}], [[1000], [1000]])


def test_a_driver_that_lists_nothing_is_in_doubt_after_a_while(node: Node) -> None:
    """It may hide the processes of the pod."""
    node.used_mib, unknown = 6000, []
    for _ in range(2):
        node.meter.step()
        unknown.append(dict(node.meter.newest.unknown))
        node.now_s += 30.0
    assert (unknown, node.meter.newest.outside_mib) == ([{}, {A: UNLISTED}], {A: 0})


def test_the_obstacle_is_logged_once(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Not every five seconds."""
    node.obstacle_text = "no hostPID"
    for _ in range(3):
        node.run(1, 1000)
    assert [record.message for record in caplog.records] == [
        "GPU GPU-a: its use by containers is not known: no hostPID"
    ]


def test_the_loop_measures_tells_and_ends(node: Node) -> None:
    """And closes the source."""
    told, stop = threading.Event(), threading.Event()
    node.meter.on_measured = told.set
    thread = threading.Thread(target=node.meter.run, args=(stop,))
    thread.start()
    assert told.wait(10.0)
    stop.set()
    thread.join(10.0)
    assert (thread.is_alive(), node.closed) == (False, True)


def test_what_the_health_queries_see_in_use_is_not_free_while_the_meter_hangs(node: Node) -> None:
    """Beyond the shares of all pods, from the first time on; what was seen outside before counts, too."""
    node.is_stalled, node.sampled_mib = True, 20 * 1024
    node.meter.step()
    assert (node.meter.newest.outside_mib, node.meter.newest.unknown) == ({A: 12 * 1024}, {A: NO_ANSWER})
    node.is_stalled = False
    node.run(1, 500, ProcessOwner())
    assert node.meter.newest.outside_mib == {A: 500}
    node.is_stalled, node.sampled_mib = True, 8 * 1024
    node.meter.step()
    assert node.meter.newest.outside_mib == {A: 500}
    node.sampled_mib = 20 * 1024
    outside_mib = []
    for _ in range(3):
        node.meter.step()
        outside_mib.append(node.meter.newest.outside_mib[A])
    assert outside_mib == [500, 500, 12 * 1024]
    node.is_stalled = False
    node.meter.step()
    assert node.meter.newest.outside_mib == {A: 500}


@pytest.mark.parametrize("pods", [None, {}])
def test_whose_memory_it_is_takes_the_pods(node: Node, pods: dict[str, BoundPod] | None) -> None:
    """While they are not known nothing counts; without any, all does."""
    node.pods, node.problem, node.sampled_mib = pods, "gone", 2048
    node.meter.step()
    assert node.meter.newest.outside_mib == ({} if pods is None else {A: 2048})


def test_a_driver_that_is_let_go_is_no_failure(node: Node) -> None:
    """Nothing is made of old samples, and after it the first measurement counts."""
    for _ in range(3):
        node.used_mib = 0
        node.meter.step()
    node.is_shut, node.sampled_mib = True, 20 * 1024
    assert [node.meter.step() for _ in range(8)] == [5.0] * 8
    assert (node.meter.newest.outside_mib, node.meter.newest.problem) == ({A: 0}, CLOSED)
    node.is_shut, node.used_mib = False, 20 * 1024
    node.meter.begin_anew()
    assert node.meter.newest.outside_mib == {A: 12 * 1024}


def test_a_meter_that_ended_opens_nothing_again(node: Node) -> None:
    """Whoever else asks for a measurement may do so a moment too late."""
    stop = threading.Event()
    stop.set()
    node.meter.run(stop)
    assert (node.closed, node.meter.step(), node.reads) == (True, 5.0, 0)
