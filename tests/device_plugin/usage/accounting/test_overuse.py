"""Who is over its share, since when, and whether the grace period is over."""

from device_plugin.pods.pod import ContainerKey
from device_plugin.usage.accounting.overuse import OveruseRecord, limited, shares_of
from device_plugin.usage.accounting.usage import ContainerUse
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, memory, placed, pod, whole

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MAIN = ContainerKey("uid-p", "main")
SHARES = {(MAIN, A): 8192}


def use(used_mib: int, gpu: GpuUuid = A, key: ContainerKey = MAIN) -> ContainerUse:
    """Memory that a container uses."""
    return ContainerUse(key, gpu, used_mib)


def test_the_grace_period_counts_from_the_first_look_that_found_it() -> None:
    """And starts anew after a moment within the share."""
    record = OveruseRecord(60.0, 64)
    looks = [(0.0, 9000), (59.9, 9000), (60.0, 9000), (61.0, 8192), (62.0, 9000), (122.0, 9000)]
    found = [record.note([use(used)], SHARES, (), at) for at, used in looks]
    assert [[(one.since_s, one.is_past_grace) for one in each] for each in found] == [
        [(0.0, False)],
        [(0.0, False)],
        [(0.0, True)],
        [],
        [(62.0, False)],
        [(62.0, True)],
    ]


def test_the_tolerance_is_not_counted() -> None:
    """Up to and with it."""
    record = OveruseRecord(0.0, 64)
    assert record.note([use(8192 + 64)], SHARES, (), 0.0) == ()
    (found,) = record.note([use(8192 + 65)], SHARES, (), 0.0)
    assert (found.used_mib, found.share_mib, found.is_past_grace) == (8257, 8192, True)
    assert found.text == "container main uses 8257 MiB of GPU GPU-a, its share is 8192 MiB"


def test_a_gpu_that_a_container_was_not_given_is_over_from_the_first_mib() -> None:
    """A pod that is not known here is not judged."""
    record = OveruseRecord(0.0, 0)
    stranger = ContainerKey("uid-x", "main")
    found = record.note([use(1, B), use(5000, B, stranger)], SHARES, (), 0.0)
    assert [(one.key, one.gpu, one.share_mib) for one in found] == [(MAIN, B, 0)]


def test_a_gpu_that_cannot_be_measured_for_a_moment_does_not_start_the_grace_anew() -> None:
    """Nobody is reported blindly, but what was known stays."""
    record = OveruseRecord(10.0, 0)
    record.note([use(9000)], SHARES, (), 0.0)
    assert record.note([], SHARES, (A,), 5.0) == ()
    assert [one.since_s for one in record.note([use(9000)], SHARES, (), 10.0)] == [0.0]


def test_shares_are_what_the_kubelet_gave() -> None:
    """A whole GPU has no share to exceed; a pod without a record has none yet."""
    given = pod("p", memory(units=8), whole("w"), allocated={"main": placed(a=8), "w": placed(b=16)})
    shares = shares_of([given, pod("q")], UNIT_MIB)
    assert limited(shares) == {(MAIN, A): 8192}
    assert OveruseRecord(0.0, 0).note([use(1 << 20, B, ContainerKey("uid-p", "w"))], shares, (), 0.0) == ()
