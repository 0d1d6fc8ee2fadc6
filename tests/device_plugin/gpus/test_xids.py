"""Critical XIDs take a GPU out of service until it has been quiet; each GPU is registered, and tried again if not."""

import pytest

from device_plugin.gpus.xids import (
    APPLICATION_XIDS,
    MOST_PLACES,
    NOT_SHOWN,
    NOT_YET,
    QUIET_S,
    WatchList,
    XidPlace,
    XidRecord,
)
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


@pytest.mark.parametrize("xid", sorted(APPLICATION_XIDS))
def test_an_applications_error_is_not_the_gpus(xid: int) -> None:
    """13, 31, 43, 45, 68 and 109 come from user code."""
    record = XidRecord()
    assert (record.note(XidPlace(A), xid, 0.0), record.problem(A, 1.0, needs_recovery=False)) == (False, "")


def test_lesson_18_an_unhealthy_gpu_comes_back() -> None:
    """After a quiet time; another XID starts it anew; a driver that asks for a reset holds it."""
    record = XidRecord()
    record.note(XidPlace(A), 79, 0.0)
    record.note(XidPlace(A), 94, 100.0)
    found = [
        record.problem(A, QUIET_S + 50.0, needs_recovery=False),
        record.problem(A, QUIET_S + 100.0, needs_recovery=False),
        record.problem(A, QUIET_S + 100.0, needs_recovery=True),
        record.problem(B, 0.0, needs_recovery=False),
        record.problem(B, 0.0, needs_recovery=True),
    ]
    assert found == ["XID 94", "", "XID 94", "", "the driver asks for a recovery action"]


def test_an_xid_of_no_known_gpu_is_everyones() -> None:
    """The driver does not always say which."""
    record = XidRecord()
    record.note(XidPlace(), 79, 0.0)
    assert [record.problem(uuid, 1.0, needs_recovery=False) for uuid in (A, B)] == ["XID 79", "XID 79"]


def test_a_gpu_that_came_later_has_nothing_to_do_with_an_xid_of_no_known_gpu() -> None:
    """One that names the GPU is its own, whenever it came."""
    record = XidRecord()
    record.note(XidPlace(), 79, 10.0)
    record.note(XidPlace(B), 48, 5.0)
    found = [record.problem(uuid, 11.0, needs_recovery=False, since_s=10.5) for uuid in (A, B)]
    assert (found, record.problem(A, 11.0, needs_recovery=False, since_s=10.0)) == (["", "XID 48"], "XID 79")


def test_more_places_than_a_gpu_has_are_the_gpu_as_a_whole() -> None:
    """So the record does not grow without bound; what no longer counts makes room."""
    record, whole = XidRecord(), slice_of(A, 1)
    for number in range(MOST_PLACES):
        record.note(XidPlace(A, 100 + number, number), 48, 0.0)
    assert record.problem(A, 1.0, needs_recovery=False, mig=whole) == ""
    for number in range(3):
        record.note(XidPlace(A, 300 + number), 48, 0.0)
    assert record.problem(A, 1.0, needs_recovery=False, mig=whole) == "XID 48"
    record.note(XidPlace(A, 400), 48, 2 * QUIET_S)
    assert record.problem(A, 2 * QUIET_S, needs_recovery=False, mig=whole) == ""


def test_an_xid_on_what_is_out_already_is_no_news() -> None:
    """Whatever its number; one elsewhere is."""
    record = XidRecord()
    before = record.is_out(XidPlace(A, 9), 0.0)
    record.note(XidPlace(A, 9), 94, 0.0)
    found = [record.is_out(place, 1.0) for place in (XidPlace(A, 9), XidPlace(A, 10), XidPlace(A), XidPlace())]
    later = record.is_out(XidPlace(A, 9), QUIET_S)
    record.note(XidPlace(A), 79, 0.0)
    assert (before, found, later, record.is_out(XidPlace(A, 10), 1.0)) == (
        False,
        [True, False, False, False],
        False,
        True,
    )


def slice_of(parent: GpuUuid, gi: int, ci: int = 0) -> MigDevice:
    """A MIG device."""
    return MigDevice(parent=parent, device=0, gi=gi, ci=ci, profile="1g.10gb", slices=1, of=7)


@pytest.mark.parametrize(
    ("place", "hit"),
    [
        (XidPlace(A, 9, 0), {(A, 9)}),
        (XidPlace(A, 9, 1), set()),
        (XidPlace(A, 9), {(A, 9)}),
        (XidPlace(A), {(A, 9), (A, 10)}),
        (XidPlace(None, 9), {(A, 9), (B, 9)}),
        (XidPlace(), {(A, 9), (A, 10), (B, 9)}),
    ],
)
def test_an_xid_is_that_of_all_mig_devices_with_the_ids_that_it_names(
    place: XidPlace, hit: set[tuple[GpuUuid, int]]
) -> None:
    """Those of other GPUs, and of other instances, are not concerned."""
    record = XidRecord()
    record.note(place, 94, 0.0)
    slices = {(A, 9): slice_of(A, 9), (A, 10): slice_of(A, 10), (B, 9): slice_of(B, 9)}
    found = {key for key, mig in slices.items() if record.problem(key[0], 1.0, needs_recovery=False, mig=mig)}
    assert found == hit


def test_the_newest_xid_is_the_reason() -> None:
    """Of those that concern a MIG device."""
    record = XidRecord()
    record.note(XidPlace(A, 9), 94, 1.0)
    record.note(XidPlace(A), 48, 0.0)
    assert record.problem(A, 2.0, needs_recovery=False, mig=slice_of(A, 9)) == "XID 94"


def test_a_place_has_its_ids_in_words() -> None:
    """For the log."""
    found = [str(place) for place in (XidPlace(A, 9, 0), XidPlace(A), XidPlace())]
    assert found == ["GPU GPU-a, GPU instance 9, compute instance 0", "GPU GPU-a", "GPU (unknown)"]


def test_a_gpu_is_new_until_its_registration_was_tried() -> None:
    """Also if NVML does not even show it then, so that nothing is renewed in a hot loop."""
    watch = WatchList()
    found = [watch.has_new()]
    watch.follow({A, B})
    found.append(watch.has_new())
    news = watch.registered({A: ""}, 0.0)
    found.append(watch.has_new())
    assert (found, news, watch.missing("")) == ([False, True, False], {B: NOT_SHOWN}, {B: NOT_SHOWN})


def test_a_gpu_that_was_away_is_new() -> None:
    """Its registration did not survive that."""
    watch = WatchList()
    watch.follow({A, B})
    watch.registered({A: "", B: "Unknown Error"}, 0.0)
    watch.follow({B})
    watch.follow({A, B})
    assert (watch.has_new(), watch.missing("")) == (True, {A: NOT_YET, B: "Unknown Error"})


def test_tries_become_rare_and_begin_anew() -> None:
    """Half a second, then twice as long each time, at most five minutes; the same reason is no news."""
    watch, now_s, waits = WatchList(), 0.0, []
    watch.follow({A, B})
    assert watch.registered({A: "", B: "Unknown Error"}, now_s) == {B: "Unknown Error"}
    for _ in range(12):
        before_s = now_s
        while not watch.due(now_s):
            now_s += 0.5
        waits.append(now_s - before_s)
    assert (waits[0], waits[-1], sorted(waits)) == (1.0, 300.0, waits)
    assert watch.registered({A: "", B: "Unknown Error"}, now_s) == {}
    watch.registered({A: "", B: ""}, now_s)
    assert (watch.due(now_s + 1000.0), watch.missing("")) == (frozenset(), {})


def test_what_keeps_all_gpus_from_being_watched() -> None:
    """One that has a reason of its own keeps it."""
    watch = WatchList()
    watch.follow({A, B})
    watch.registered({A: "", B: "Not Supported"}, 0.0)
    assert watch.missing("GPU is lost") == {A: "GPU is lost", B: "Not Supported"}
