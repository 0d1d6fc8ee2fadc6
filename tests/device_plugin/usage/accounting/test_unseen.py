"""Memory in use that nobody is seen to use is not free."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin.gpus.readings import GpuProcess, GpuReading
from device_plugin.pods.pod import BoundPod
from device_plugin.usage.accounting.processes import MPS_SERVER_MIB, ProcessOwner, account, holds, share_mib
from device_plugin.usage.accounting.unseen import LastingRecord, UnseenRecord, tolerance_mib
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, memory, placed, pod, whole

A = GpuUuid("GPU-a")
MIB = 1024 * 1024
POD = replace(pod("p", allocated={"main": placed(a=8)}), container_ids={"id": "main"})
MAIN, FOREIGN = ProcessOwner("uid-p", "id"), ProcessOwner()


def reading(used_mib: int | None, *sizes_mib: int | None, reserved_mib: int | None = 500) -> GpuReading:
    """A GPU with so much in use, and processes of so many MiB whose PIDs count from 1."""
    processes = [GpuProcess(pid, None if size is None else size * MIB) for pid, size in enumerate(sizes_mib, start=1)]
    return GpuReading(
        A,
        used_bytes=None if used_mib is None else used_mib * MIB,
        reserved_bytes=None if reserved_mib is None else reserved_mib * MIB,
        processes=tuple(processes),
    )


def unseen(found: GpuReading, owners: Mapping[int, ProcessOwner], *pods: BoundPod, obstacle: str = "") -> int | None:
    """MiB that nobody is seen to use."""
    return account([found], owners, {each.uid: each for each in pods}, obstacle, UNIT_MIB).unseen_mib.get(A)


def test_lesson_29_memory_without_any_process_is_in_use() -> None:
    """12 GiB of a process that the driver does not list."""
    assert unseen(reading(12288), {}) == 12288


def test_memory_of_a_process_in_another_pid_namespace_is_in_use() -> None:
    """Its PID is not in /proc, whether or not the driver says how much of the GPU is in use."""
    assert [unseen(reading(used_mib, 12288), {}) for used_mib in (12288, 12000, None)] == [12288] * 3


def test_what_processes_are_seen_to_use_counts_once() -> None:
    """Also of a container that uses more than its share, and of what runs outside."""
    assert unseen(reading(8192, 8192), {1: MAIN}, POD) == 0
    assert unseen(reading(9192, 9192), {1: MAIN}, POD) == 0
    assert unseen(reading(9192, 8192, 1000), {1: MAIN, 2: FOREIGN}, POD) == 0


def test_what_the_driver_needs_itself_is_tolerated() -> None:
    """A little on each GPU and for each process; a driver that counts what it reserves as used may have more of it."""
    assert [unseen(reading(used_mib), {}) for used_mib in (0, 256, 257)] == [0, 0, 257]
    assert [unseen(reading(1000 + more, 1000), {1: FOREIGN}) for more in (320, 321)] == [0, 321]
    assert [unseen(reading(used_mib, reserved_mib=None), {}) for used_mib in (1280, 1281)] == [0, 1281]
    assert tolerance_mib(reading(0, *[1] * 48)) == 1024


@pytest.mark.parametrize(
    ("used_mib", "expected"), [(6000, 0), (8192, 0), (8192 + 320, 0), (8192 + 4096, 4096), (24576, 16384)]
)
def test_a_pods_own_memory_that_the_driver_does_not_name_is_within_its_share(used_mib: int, expected: int) -> None:
    """What is in use beyond the share is not its."""
    assert unseen(reading(used_mib, None), {1: MAIN}, POD) == expected
    assert unseen(replace(reading(used_mib), processes=None), {}, POD) == expected


def test_where_no_process_can_be_looked_up_all_shares_are_in_use_by_their_pods() -> None:
    """Without hostPID, what is beyond them is not free; a whole GPU has no beyond."""
    all_of_it = pod("w", whole(), allocated={"main": placed(a=24)})
    used = reading(14000, 8192, 5808)
    assert unseen(used, {}, obstacle="no") == 14000
    assert unseen(used, {}, POD, obstacle="no") == 14000 - 8192
    assert unseen(used, {}, POD, replace(POD, uid="uid-q"), obstacle="no") == 0
    assert unseen(used, {}, all_of_it, obstacle="no") == 0


def test_a_pod_that_has_not_begun_does_not_hide_a_stranger() -> None:
    """Where the driver lists processes at all, the pod would be seen; where it lists none, it may be the pod."""
    assert unseen(reading(13000, 1000), {1: FOREIGN}, POD) == 12000
    found = account([reading(12000)], {}, {POD.uid: POD}, unit_mib=UNIT_MIB)
    assert (found.unseen_mib, found.unlisted) == ({A: 12000 - 8192}, frozenset({A}))
    assert account([reading(200)], {}, {POD.uid: POD}, unit_mib=UNIT_MIB).unlisted == frozenset()


def test_the_share_of_a_pod_that_nobody_recorded_is_all_that_it_asks_for() -> None:
    """One that was bound by hand; its init containers reuse what the others have."""
    asked = pod("p", memory("one", 3), memory("two", 5))
    planned = pod("p", memory("one", 3), memory("two", 5), plan={"one": placed(a=3), "two": placed(b=5)})
    assert [share_mib(each, A, UNIT_MIB) for each in (asked, planned)] == [8 * 1024, 3 * 1024]


def test_the_least_of_three_measurements_counts() -> None:
    """A process that ends between two answers of the driver is no stranger; the first measurement counts at once."""
    record = UnseenRecord()
    assert [record.note({A: size_mib})[A] for size_mib in (0, 5000, 0, 900, 800, 900, 12288, 12288, 12288)] == [
        0,
        0,
        0,
        0,
        0,
        800,
        800,
        900,
        12288,
    ]
    assert UnseenRecord().note({A: 12288}) == {A: 12288}


def test_what_lasts_counts_after_a_while() -> None:
    """A pause begins it anew."""
    record: LastingRecord[str] = LastingRecord()
    assert [record.note({"a"}, now_s) for now_s in (0.0, 29.0, 30.0)] == [frozenset(), frozenset(), {"a"}]
    record.note((), 31.0)
    assert [record.note({"a"}, now_s) for now_s in (32.0, 61.0, 62.0)] == [frozenset(), frozenset(), {"a"}]


OWNERS = st.sampled_from(
    [None, MAIN, FOREIGN, ProcessOwner("uid-p", "id-sandbox"), ProcessOwner("uid-q", "x"), ProcessOwner("uid-other")]
)
SIZES = st.none() | st.integers(0, 20_000)
PODS = {
    each.uid: each
    for each in (POD, pod("q", memory("one", 2), memory("two", 3)), replace(POD, uid="uid-ended", ended=True))
}


@given(st.lists(st.tuples(SIZES, OWNERS), max_size=6), st.integers(0, 40_000), st.booleans(), st.booleans())
def test_memory_in_use_is_never_free(
    processes: list[tuple[int | None, ProcessOwner | None]],
    unlisted_mib: int,
    is_blind: bool,  # noqa: FBT001 - hypothesis passes by position
    is_listed: bool,  # noqa: FBT001 - the same
) -> None:
    """Whatever is in use is within what pods hold or are seen to use, or outside, but for what is tolerated."""
    used_mib = unlisted_mib + sum(size or 0 for size, _ in processes)
    found = reading(used_mib, *(size for size, _ in processes))
    owners = {pid: owner for pid, (_, owner) in enumerate(processes, start=1) if owner is not None}
    given_to_all = found if is_listed else replace(found, processes=None)
    measured = account([given_to_all], owners, PODS, "blind" if is_blind else "", UNIT_MIB)
    own_mib = 0
    for each in PODS.values():
        if holds(each, A):
            sizes = [size for size, owner in processes if owner is not None and owner.pod_uid == each.uid]
            own_mib += max(share_mib(each, A, UNIT_MIB), sum(size or 0 for size in sizes))
    outside_mib = measured.outside_mib.get(A, 0) + measured.unseen_mib[A]
    servers_mib = MPS_SERVER_MIB * len(processes)
    assert used_mib <= own_mib + outside_mib + tolerance_mib(given_to_all) + servers_mib
    assert outside_mib <= used_mib
