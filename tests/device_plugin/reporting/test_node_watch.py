"""The Node's watch reaches everyone; a cordon that cannot be read changes nothing."""

from dataclasses import replace

import pytest

from device_plugin.gpus.probation import Probation
from device_plugin.gpus.remembering import EarlierGpus
from device_plugin.gpus.standing import ADVISORY_ONLY
from device_plugin.pods.decoding import NodeNotes
from device_plugin.pods.events import Events
from device_plugin.reporting.node_watch import CordonWatch, InventoryMemory, OwnNodeSink
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.supervising import SupervisedSource
from extender.contract.inventory import Inventory
from extender.contract.mig import MigDevice
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from extender.kube.objects import Identity
from tests.device_plugin.builders import UNIT_MIB, sample
from tests.device_plugin.sampling.test_supervising import OneStanding
from tests.device_plugin.serving import FixedSource
from tests.fakes.news import KeptNews


class Follower:
    """A follower that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[NodeNotes | None] = []

    def take(self, node: NodeNotes) -> None:
        self.told.append(node)

    def gone(self) -> None:
        self.told.append(None)


def notes(name: str = "n1", cordon: str | None = None, inventory: str | None = None) -> NodeNotes:
    """A Node with these annotations."""
    return NodeNotes(name, "u", inventory, cordon)


def test_every_follower_hears_of_its_node_alone() -> None:
    """Even if the API server ignores the selector; a Node that cannot be read is not gone."""
    followers = [Follower(), Follower()]
    sink = OwnNodeSink("n1", Names(), followers)
    sink.replaced([notes(), notes("n2")], [], "1", rewound=False)
    sink.changed(notes("n2"))
    sink.deleted(Identity(name="n2"))
    sink.changed(notes(cordon="GPU-a"))
    sink.replaced([], [Identity(name="n1")], "2", rewound=False)
    sink.deleted(Identity(name="n1"))
    sink.replaced([], [], "3", rewound=False)
    assert [follower.told for follower in followers] == [[notes(), notes(cordon="GPU-a"), None, None]] * 2


def test_cordons_follow_the_annotation(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read keeps the cordons of before; removing the annotation lifts them."""
    source = SupervisedSource(
        FixedSource(sample("GPU-a"), sample("GPU-b")), OneStanding(ADVISORY_ONLY), Probation(30.0)
    )
    feed = GpuFeed(source, UNIT_MIB, 60.0)
    feed.step()
    news = KeptNews()
    watch = CordonWatch(names=Names(), source=source, feed=feed, events=Events(news, "n1"))
    healths = []
    for cordon in (None, "GPU-a", '["GPU-a"', '["GPU-b", "GPU-z"]', None):
        watch.take(notes(cordon=cordon))
        healths.append([each.healthy for each in source.sample()])
    assert healths == [[True, True], [False, True], [False, True], [True, False], [True, True]]
    assert "is ignored: cordon '[\"GPU-a\"': not JSON" in caplog.text
    assert "cordon names GPU-z, which this node does not have" in caplog.text
    assert news.reasons == ["GPUCordonUnreadable", "GPUCordonUnreadable"]


def test_a_gpu_in_mig_devices_can_be_cordoned(caplog: pytest.LogCaptureFixture) -> None:
    """The node offers its MIG devices only, but has it."""
    place = MigDevice(GpuUuid("GPU-a"), 3, 9, 0, "1g.10gb", 1, 7)
    source = SupervisedSource(
        FixedSource(replace(sample("MIG-b"), mig=place)), OneStanding(ADVISORY_ONLY), Probation(30.0)
    )
    feed = GpuFeed(source, UNIT_MIB, 60.0)
    feed.step()
    news = KeptNews()
    CordonWatch(names=Names(), source=source, feed=feed, events=Events(news, "n1")).take(notes(cordon="GPU-a,MIG-b"))
    assert ("does not have" in caplog.text, news.reasons) == (False, [])


def test_what_was_published_before_the_plugin_started_is_taken_once(caplog: pytest.LogCaptureFixture) -> None:
    """What comes later is its own; an annotation that cannot be read, or is not there, says nothing."""
    a, b = (Inventory(UNIT_MIB, (sample(name).published(),)).to_json() for name in ("GPU-a", "GPU-b"))
    missing = []
    for first in (a, "nonsense", None):
        earlier = EarlierGpus(lambda: {GpuUuid("GPU-a"), GpuUuid("GPU-b")})
        feed = GpuFeed(FixedSource(sample("GPU-c")), UNIT_MIB, 60.0)
        memory = InventoryMemory(Names(), earlier, feed)
        asked = [memory.look_again()]
        memory.take(notes(inventory=first))
        memory.take(notes(inventory=b))
        memory.gone()
        asked.append(memory.look_again())
        feed.step()
        asked.append(memory.look_again())
        missing.append(([each.uuid for each in earlier.missing(())], asked))
    assert missing == [(["GPU-a"], [False, False, True]), ([], [False] * 3), ([], [False] * 3)]
    assert "annotation gpupack.io/inventory of before is ignored" in caplog.text
