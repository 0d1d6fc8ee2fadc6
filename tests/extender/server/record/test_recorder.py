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
from extender.server.record.recorder import LOGGER, Audit

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
    audit = Audit(GIB, announced.append)
    audit.start()
    for name in ("one", "two", "three"):
        audit.tell(decided(name))
    audit.stop(ONCE_S)
    assert texts(log) == [f"team/{name}: Not bound to a: why" for name in ("one", "two", "three")]
    assert [news.name for news in announced] == ["one", "two", "three"]
    assert audit.dropped == 0


def test_a_line_is_json_with_the_decision_in_fields(log: pytest.LogCaptureFixture) -> None:
    """For `jq 'select(.decision)'`."""
    audit = Audit(GIB, lambda _news: None)
    audit.start()
    audit.tell(decided("train"))
    audit.stop(ONCE_S)
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

    audit = Audit(GIB, stuck, limit=2)
    audit.start()
    audit.tell(decided("first"))
    assert entered.wait(ONCE_S)
    for name in ("a", "b", "c", "d"):
        audit.tell(decided(name))
    assert audit.dropped == 2
    gate.set()
    audit.stop(ONCE_S)


def test_a_decision_that_cannot_be_told_does_not_end_the_record(log: pytest.LogCaptureFixture) -> None:
    """The next one is told, and the failure is logged."""
    audit = Audit(GIB, lambda _news: None)
    audit.start()
    audit.tell(decided("strange", "unheard of"))
    audit.tell(decided("train"))
    audit.stop(ONCE_S)
    assert "team/train: Not bound to a: why" in texts(log)
    assert any("decision on team/strange is not told" in record.getMessage() for record in log.records)
