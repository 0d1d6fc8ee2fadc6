"""Each decision becomes one log line, in order, and an Event, beside the thread that decided."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from extender.contract.units import UnitMib
from extender.kube.events import News
from extender.server.logs import JsonFormatter
from extender.server.record.decisions import Decided, Decision
from extender.server.record.recorder import LOGGER, Recorder

ONCE_S = 10.0
GIB = UnitMib(1024)


def decided(name: str, verdict: str = "not bound") -> Decided:
    """A bind that failed."""
    return Decided("team", name, f"uid-{name}", Decision(verdict, "2026-01-31T12:00:00.000Z", node="a", message="why"))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, though everything but errors is silenced."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    yield caplog
    logging.root.setLevel(level)


def texts(log: pytest.LogCaptureFixture) -> list[str]:
    """What the decision log says."""
    return [record.getMessage() for record in log.records if record.name == LOGGER]


def test_decisions_are_logged_in_order_and_announced(log: pytest.LogCaptureFixture) -> None:
    """Whatever the level of the other logs; all of them are written when it stops."""
    announced: list[News] = []
    recorder = Recorder(GIB, announced.append)
    recorder.start()
    for name in ("one", "two", "three"):
        recorder.record(decided(name))
    recorder.stop(ONCE_S)
    assert texts(log) == [f"team/{name}: Not bound to a: why" for name in ("one", "two", "three")]
    assert [news.name for news in announced] == ["one", "two", "three"]
    assert recorder.dropped == 0


def test_a_line_is_json_with_the_decision_in_fields(log: pytest.LogCaptureFixture) -> None:
    """For `jq 'select(.decision)'`."""
    recorder = Recorder(GIB, lambda _news: None)
    recorder.start()
    recorder.record(decided("train"))
    recorder.stop(ONCE_S)
    record = next(record for record in log.records if record.name == LOGGER)
    line = json.loads(JsonFormatter().format(record))
    assert (line["logger"], line["level"]) == ("gpupack.decisions", "info")
    assert line["decision"] == {
        "verdict": "not bound",
        "reason": "GpupackNotBound",
        "namespace": "team",
        "pod": "train",
        "uid": "uid-train",
        "at": "2026-01-31T12:00:00.000Z",
        "node": "a",
        "message": "why",
    }


def test_telling_never_waits_and_counts_what_found_no_room() -> None:
    """The log is stuck: the thread that decides goes on."""
    gate, entered = threading.Event(), threading.Event()

    def stuck(_news: News) -> None:
        entered.set()
        assert gate.wait(ONCE_S)

    recorder = Recorder(GIB, stuck, limit=2)
    recorder.start()
    recorder.record(decided("first"))
    assert entered.wait(ONCE_S)
    for name in ("a", "b", "c", "d"):
        recorder.record(decided(name))
    assert recorder.dropped == 2
    gate.set()
    recorder.stop(ONCE_S)


def test_a_decision_that_cannot_be_told_does_not_end_the_record(log: pytest.LogCaptureFixture) -> None:
    """The next one is told, and the failure is logged."""
    recorder = Recorder(GIB, lambda _news: None)
    recorder.start()
    recorder.record(decided("strange", "unheard of"))
    recorder.record(decided("train"))
    recorder.stop(ONCE_S)
    assert "team/train: Not bound to a: why" in texts(log)
    assert any("can't record the decision on team/strange" in record.getMessage() for record in log.records)
