"""Critical XIDs take a GPU out of service until it has been quiet and the driver asks for nothing."""

import pytest

from device_plugin.gpus.xids import APPLICATION_XIDS, QUIET_S, XidRecord
from extender.contract.units import GpuUuid

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


@pytest.mark.parametrize("xid", sorted(APPLICATION_XIDS))
def test_an_applications_error_is_not_the_gpus(xid: int) -> None:
    """13, 31, 43, 45, 68 and 109 come from user code."""
    record = XidRecord()
    assert (record.note(A, xid, 0.0), record.problem(A, 1.0, needs_recovery=False)) == (False, "")


def test_lesson_18_an_unhealthy_gpu_comes_back() -> None:
    """After a quiet time; another XID starts it anew; a driver that asks for a reset holds it."""
    record = XidRecord()
    record.note(A, 79, 0.0)
    record.note(A, 94, 100.0)
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
    record.note(None, 79, 0.0)
    assert [record.problem(uuid, 1.0, needs_recovery=False) for uuid in (A, B)] == ["XID 79", "XID 79"]
