"""A loop that fails for hours leaves few lines in the log."""

import logging

import pytest

from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.retries import FailureLog

LOGGER = logging.getLogger("tests.failurelog")
REFUSED = ApiUnreachable("connection refused", sent=False)


@pytest.fixture(autouse=True)
def _every_level(caplog: pytest.LogCaptureFixture) -> None:
    """Debug lines are seen, too."""
    caplog.set_level(logging.DEBUG, LOGGER.name)


def test_the_same_failure_again_goes_to_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Although its text differs, as port numbers in it do."""
    log = FailureLog(LOGGER, "pods")
    for number in range(3):
        log.failed("list", ApiUnreachable(f"connection {number} refused", sent=False))
    log.failed("list", ApiError(500, "InternalError", "no"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG", "WARNING"]
    assert caplog.records[0].getMessage() == "pods: list failed: connection 0 refused"


def test_steps_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """A list that works does not end the watch's failure."""
    log = FailureLog(LOGGER, "pods")
    log.failed("watch", REFUSED)
    log.succeeded("list")
    log.failed("watch", REFUSED)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]


def test_recovery_is_logged_once_with_the_count(caplog: pytest.LogCaptureFixture) -> None:
    """And a success without a failure before it is not."""
    log = FailureLog(LOGGER, "pods")
    log.succeeded("list")
    log.failed("list", REFUSED)
    log.failed("list", REFUSED)
    log.succeeded("list")
    log.succeeded("list")
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert messages == ["pods: list recovered after 2 failures (last: ApiUnreachable)"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_is_an_error_that_says_what_to_check(caplog: pytest.LogCaptureFixture, status: int) -> None:
    """It does not heal by waiting."""
    FailureLog(LOGGER, "pods").failed("list", ApiError(status, "Denied", "pods is forbidden"))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "check the credentials, and what the ClusterRole allows" in caplog.records[0].getMessage()
