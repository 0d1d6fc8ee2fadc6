"""Whose memory it is: the ledger's, a container's, or outside."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from device_plugin.gpus.readings import GpuProcess, GpuReading
from device_plugin.pods.pod import ContainerKey
from device_plugin.usage.accounting.processes import (
    MPS_SERVER_MIB,
    NO_MEMORY,
    NOT_LISTED,
    Measured,
    ProcessOwner,
    account,
    holds,
)
from device_plugin.usage.accounting.usage import ContainerUse
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import memory, placed, pod, whole

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MIB = 1024 * 1024
POD = replace(
    pod("p", memory("main"), memory("side"), allocated={"main": placed(a=8), "side": placed(b=4)}),
    container_ids={"id-main": "main", "id-side": "side", "id-free": "free"},
)
PODS = {POD.uid: POD}
MAIN, SIDE = ProcessOwner("uid-p", "id-main", "/main"), ProcessOwner("uid-p", "id-side")


def reading(uuid: GpuUuid, *sizes: tuple[int, int | None]) -> GpuReading:
    """A GPU with processes of so many MiB by PID."""
    found = [GpuProcess(pid, None if size is None else size * MIB) for pid, size in sizes]
    return GpuReading(uuid, processes=tuple(found))


def accounted(readings: list[GpuReading], owners: Mapping[int, ProcessOwner]) -> Measured:
    """With the pod above."""
    return account(readings, owners, PODS)


def test_a_containers_processes_are_added_up() -> None:
    """By GPU; nothing is outside."""
    found = accounted([reading(A, (1, 1000), (2, 500)), reading(B, (3, 70))], {1: MAIN, 2: MAIN, 3: SIDE})
    assert found == Measured(
        uses=(
            ContainerUse(ContainerKey("uid-p", "main"), A, 1500, frozenset({1, 2}), "/main"),
            ContainerUse(ContainerKey("uid-p", "side"), B, 70, frozenset({3})),
        ),
        outside_mib={A: 0, B: 0},
        unseen_mib={A: 0, B: 0},
    )


def test_measured_memory_is_rounded_up_to_whole_mib() -> None:
    """A byte over is a MiB over, inside and outside; an MPS server that uses less than is allowed takes nothing off."""
    processes = (GpuProcess(1, MIB + 1), GpuProcess(2, 10 * MIB + 1), GpuProcess(3, MIB))
    owners = {1: MAIN, 2: ProcessOwner(), 3: ProcessOwner(is_mps_server=True)}
    found = accounted([GpuReading(A, processes=processes)], owners)
    assert ([use.used_mib for use in found.uses], found.outside_mib) == ([2], {A: 11})


def test_utilization_is_added_up_to_the_whole_gpu_at_most() -> None:
    """A process of which it is not known adds nothing; none at all is None."""
    processes = tuple(GpuProcess(pid, MIB, ratio) for pid, ratio in [(1, 0.7), (2, 0.6), (3, None), (4, None)])
    owners = {1: MAIN, 2: MAIN, 3: MAIN, 4: SIDE}
    found = accounted([GpuReading(A, processes=processes)], owners)
    assert [use.sm_ratio for use in found.uses] == [1.0, None]


@pytest.mark.parametrize(
    ("owner", "outside_mib"),
    [
        (ProcessOwner(), 1000),
        (ProcessOwner("uid-other", "id-other"), 1000),
        (ProcessOwner("uid-p", ""), 0),
        (ProcessOwner("uid-p", "id-free"), 0),
        (ProcessOwner("uid-p", "id-not-known-yet"), 0),
        (ProcessOwner("", "id-main"), 0),
        (ProcessOwner("uid-of-a-static-pod", "id-main"), 0),
        (ProcessOwner(is_mps_server=True), 1000 - MPS_SERVER_MIB),
    ],
)
def test_what_is_outside(owner: ProcessOwner, outside_mib: int) -> None:
    """No pod, or one that asks for nothing; a container ID is proof where the pod's UID is another or not known."""
    assert accounted([reading(A, (1, 1000))], {1: owner}).outside_mib == {A: outside_mib}


def test_a_pod_on_a_gpu_that_is_not_its_own_is_outside_there() -> None:
    """And seen using what it has no share of."""
    pods = {"uid-q": replace(pod("q", allocated={"main": placed(a=8)}), container_ids={"x": "main"})}
    found = account([reading(B, (1, 1000))], {1: ProcessOwner("uid-q", "x")}, pods)
    assert (found.outside_mib, [(use.gpu, use.used_mib) for use in found.uses]) == ({B: 1000}, [(B, 1000)])


def test_pods_on_gpus_of_which_they_hold_nothing_are_guests() -> None:
    """One that is not known, one that is known for another GPU; what is in no pod is nobody's guest."""
    pods = {"uid-q": replace(pod("q", allocated={"main": placed(a=8)}), container_ids={"x": "main"})}
    owners = {1: ProcessOwner("uid-q", "x"), 2: ProcessOwner("uid-other"), 3: ProcessOwner()}
    found = account([reading(A, (1, 10)), reading(B, (1, 10), (2, 10), (3, 10))], owners, pods)
    assert found.guests == {B: {"uid-q", "uid-other"}}


def test_processes_that_cannot_be_looked_up_are_nobodys() -> None:
    """They may have ended meanwhile: not outside for a moment."""
    assert accounted([reading(A, (1, 1000))], {}) == Measured(outside_mib={A: 0}, unseen_mib={A: 1000})


def test_what_the_driver_reserves_is_not_outside() -> None:
    """Only what is in use besides."""
    found = accounted([replace(reading(A), used_bytes=200 * MIB, reserved_bytes=500 * MIB)], {})
    assert (found.outside_mib, found.unseen_mib) == ({A: 0}, {A: 0})


def test_a_process_in_none_of_its_pods_containers_is_the_only_containers() -> None:
    """As in a sandbox; where two containers have memory of the GPU, it is the pod's, and none of them is blamed."""
    sandbox = {1: ProcessOwner("uid-p", "id-sandbox", "/sandbox"), 2: MAIN}
    found = accounted([reading(A, (1, 1000), (2, 500))], sandbox)
    assert [(use.key.container, use.used_mib, use.pids) for use in found.uses] == [("main", 1500, frozenset({1, 2}))]
    assert (found.outside_mib, found.strays) == ({A: 0}, {A: frozenset({"uid-p"})})
    both = replace(POD, allocated={"main": placed(a=8), "side": placed(a=4)})
    found = account([reading(A, (1, 1000))], sandbox, {both.uid: both})
    assert (found.uses, found.outside_mib, found.unseen_mib, found.strays) == (
        (),
        {A: 0},
        {A: 0},
        {A: frozenset({"uid-p"})},
    )


@pytest.mark.parametrize(
    ("given", "owners", "unknown"),
    [
        (GpuReading(A), {}, {A: NOT_LISTED}),
        (reading(A, (1, None)), {1: MAIN}, {A: NO_MEMORY}),
        (reading(A, (1, None)), {1: ProcessOwner()}, {}),
    ],
)
def test_what_cannot_be_told_is_unknown(
    given: GpuReading, owners: dict[int, ProcessOwner], unknown: dict[GpuUuid, str]
) -> None:
    """Never zero for a container; a GPU whose processes are not listed has no number at all."""
    found = accounted([given], owners)
    assert (found.unknown, A in found.outside_mib) == (unknown, given.processes is not None)


def test_an_obstacle_makes_all_gpus_unknown() -> None:
    """Without hostPID everything would look outside."""
    found = account([reading(A, (1, 1000)), reading(B)], {}, PODS, "no")
    assert found == Measured(unknown={A: "no", B: "no"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"allocated": {"main": placed(a=8)}, "plan": {"main": placed(b=8)}}, True),
        ({"allocated": {"main": placed(b=8)}, "plan": {"main": placed(a=8)}}, False),
        ({"plan": {"main": placed(a=8)}}, True),
        ({}, True),
        ({"needs": ()}, False),
        ({"needs": (whole(),), "allocated": {"main": placed(a=80)}}, True),
        ({"allocated": {"main": placed(a=8)}, "ended": True}, False),
    ],
)
def test_holds(changes: dict[str, object], expected: bool) -> None:  # noqa: FBT001 - a table
    """What the ledger charges the pod for on GPU-a."""
    assert holds(replace(pod("p"), **changes), A) == expected  # type: ignore[arg-type]  # by name from the table
