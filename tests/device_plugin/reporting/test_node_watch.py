"""The Node's watch reaches everyone; a cordon that cannot be read changes nothing."""

import json
from pathlib import Path

import pytest

from device_plugin.eventing import Events
from device_plugin.gpus.probation import Probation
from device_plugin.gpus.standing import ADVISORY_ONLY
from device_plugin.reporting.node_watch import CordonWatch, Fanout
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.supervising import SupervisedSource
from extender.contract.names import Names
from tests.device_plugin.apiside import api_side
from tests.device_plugin.builders import UNIT_MIB, sample
from tests.device_plugin.sampling.test_supervising import OneStanding
from tests.device_plugin.serving import FixedSource


class Recorder:
    """A handler that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def replace(self, items: object) -> None:
        self.told.append(list(items))  # type: ignore[call-overload]

    def apply(self, kind: str, body: bytes) -> None:
        self.told.append((kind, body))


def node(cordon: str | None, name: str = "n1") -> bytes:
    """A Node with that annotation."""
    annotations = {} if cordon is None else {"gpupack.io/cordon": cordon}
    return json.dumps({"metadata": {"name": name, "annotations": annotations}}).encode()


def test_every_handler_gets_everything() -> None:
    """A list that can be read once only is read for all."""
    handlers = [Recorder(), Recorder()]
    fanout = Fanout(handlers)
    fanout.replace(iter([b"x"]))
    fanout.apply("ADDED", b"y")
    assert [handler.told for handler in handlers] == [[[b"x"], ("ADDED", b"y")]] * 2


def test_cordons_follow_the_annotation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read keeps the cordons of before; removing the annotation lifts them."""
    source = SupervisedSource(
        FixedSource(sample("GPU-a"), sample("GPU-b")), OneStanding(ADVISORY_ONLY), Probation(30.0)
    )
    feed = GpuFeed(source, UNIT_MIB, 60.0)
    feed.step()
    with api_side(tmp_path) as side:
        watch = CordonWatch(node_name="n1", names=Names(), source=source, feed=feed, events=Events(side.api, "n1"))
        healths = []
        for cordon in (None, "GPU-a", '["GPU-a"', '["GPU-b", "GPU-z"]', None):
            watch.apply("MODIFIED", node(cordon))
            watch.apply("MODIFIED", node("GPU-a,GPU-b", name="n2"))
            healths.append([each.healthy for each in source.sample()])
    assert healths == [[True, True], [False, True], [False, True], [True, False], [True, True]]
    assert "changes nothing: cordon '[\"GPU-a\"': not JSON" in caplog.text
    assert "cordon names GPU-z, which this node has not" in caplog.text
