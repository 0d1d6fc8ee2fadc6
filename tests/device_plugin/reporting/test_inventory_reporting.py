"""The Node's inventory annotation is true: at the start, after changes, and after somebody removed it."""

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import GpuSample
from device_plugin.pods.decoding import NodeNotes, decode_node
from device_plugin.reporting.inventory import InventoryReporter, OutsideUse
from device_plugin.sampling.feed import GpuFeed
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, sample
from tests.fakes.kubelet_patches import FakePatching

PATH = "/api/v1/nodes/n1"
NAMES = Names()


def notes(body: dict[str, Any]) -> NodeNotes:
    """What the plugin reads of a Node."""
    return decode_node(json.dumps(body).encode(), NAMES)


class ChangingSource:
    """One GPU that the test changes."""

    def __init__(self) -> None:
        self.gpu = sample()

    def sample(self) -> tuple[GpuSample, ...]:
        return (self.gpu,)

    def close(self) -> None:
        """Nothing is held."""


class Node:
    """A reporter that runs."""

    def __init__(self) -> None:
        self.source = ChangingSource()
        self.feed = GpuFeed(self.source, UNIT_MIB, 60.0)
        self.api = FakePatching(**{PATH: self.fresh("1")})
        self.reporter = InventoryReporter(
            api=self.api, feed=self.feed, node_name="n1", names=NAMES, use=OutsideUse(UNIT_MIB)
        )
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=loop, args=(self.stop,)) for loop in (self.reporter.run, self.reporter.follow_gpus)
        ]

    @staticmethod
    def fresh(version: str) -> dict[str, Any]:
        """A Node without annotations."""
        return {"metadata": {"name": "n1", "uid": f"u{version}", "resourceVersion": version}}

    def written(self) -> list[tuple[int, bool]]:
        """Memory and health of the GPUs that the annotation names."""
        text = self.api.objects[PATH]["metadata"].get("annotations", {}).get(NAMES.inventory_annotation)
        return [(gpu["outsideMib"], gpu["healthy"]) for gpu in json.loads(text)["gpus"]] if text else []

    def change(self, **values: Any) -> None:
        """Let the next sample differ."""
        self.source.gpu = replace(self.source.gpu, **values)
        self.feed.step()


@pytest.fixture
def node() -> Iterator[Node]:
    """A node whose first sample is not there yet."""
    found = Node()
    for thread in found.threads:
        thread.start()
    yield found
    found.stop.set()
    found.reporter.soon()
    for thread in found.threads:
        thread.join(10.0)
        assert not thread.is_alive()


def test_written_at_the_first_sample_and_at_changes(node: Node) -> None:
    """A GPU falls ill."""
    assert (node.written(), node.reporter.problem) == ([], "inventory not written yet")
    node.feed.step()
    until(lambda: node.written() == [(0, True)])
    node.change(healthy=False, reason="XID 79")
    until(lambda: node.written() == [(0, False)])
    until(lambda: not node.reporter.problem)


def test_lesson_10_a_node_that_was_created_again_gets_its_inventory(node: Node) -> None:
    """And one from which somebody took the annotation away."""
    node.feed.step()
    until(node.written)
    for kind in ("MODIFIED", "ADDED"):
        bare = node.fresh("7")
        node.api.objects[PATH] = bare
        if kind == "ADDED":
            node.reporter.gone()
        node.reporter.take(notes(bare))
        until(lambda: node.written() == [(0, True)])


def test_a_node_that_is_not_there_yet_is_waited_for(node: Node) -> None:
    """The kubelet creates it; the watch ends the wait."""
    del node.api.objects[PATH]
    node.feed.step()
    until(lambda: "404" in node.reporter.problem)
    node.api.objects[PATH] = node.fresh("3")
    node.reporter.take(notes(node.fresh("3")))
    until(node.written)


def test_an_api_server_that_is_away_is_tried_again(node: Node) -> None:
    """With what is true by then."""
    node.api.status = 0
    node.feed.step()
    until(lambda: len(node.api.patches) >= 2)
    node.change(outside_mib=512)
    node.api.status = None
    until(lambda: node.written() == [(512, True)])


class BusyNode:
    """Eight GPUs whose measured use the test sets, a clock that it moves, and a reporter without a thread."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.outside_mib: dict[GpuUuid, int] = {}
        self.samples = tuple(sample(f"GPU-{index}", 80, index=index) for index in range(8))
        self.feed = GpuFeed(self, UNIT_MIB, 60.0)
        self.feed.step()
        self.api = FakePatching(**{PATH: Node.fresh("1")})
        self.reporter = InventoryReporter(
            api=self.api,
            feed=self.feed,
            node_name="n1",
            names=NAMES,
            use=OutsideUse(UNIT_MIB),
            outside_mib=lambda: self.outside_mib,
            clock_s=lambda: self.now_s,
        )

    def sample(self) -> tuple[GpuSample, ...]:
        return self.samples

    def close(self) -> None:
        """Nothing is held."""

    def restart(self) -> None:
        """Another plugin on the same Node, which has measured nothing yet."""
        self.outside_mib = {}
        reporter = InventoryReporter(
            api=self.api,
            feed=self.feed,
            node_name="n1",
            names=NAMES,
            use=OutsideUse(UNIT_MIB),
            outside_mib=lambda: self.outside_mib,
            clock_s=lambda: self.now_s,
        )
        reporter.take(notes(self.api.objects[PATH]))
        self.reporter = reporter

    def measure(self, *sizes_mib: int) -> list[int]:
        """Measure so much on the first GPUs, nothing on the others, five seconds after the last time; what is told."""
        self.now_s += 5.0
        padded = [*sizes_mib, *[0] * (8 - len(sizes_mib))]
        self.outside_mib = {gpu.uuid: size for gpu, size in zip(self.samples, padded, strict=True)}
        return self.look()

    def look(self) -> list[int]:
        """Let the reporter look; what the annotation says of the GPUs."""
        assert self.reporter.step() is not None
        return self.told()

    def told(self) -> list[int]:
        """What the annotation says of the GPUs."""
        text = self.api.objects[PATH]["metadata"]["annotations"][NAMES.inventory_annotation]
        return [gpu["outsideMib"] for gpu in json.loads(text)["gpus"]]


def test_a_node_with_8_busy_gpus_writes_less_than_once_a_minute() -> None:
    """An hour of use that wobbles around the edge of a unit, measured every five seconds."""
    node, draw = BusyNode(), random.Random(1)
    for _ in range(720):
        node.measure(*(1024 * (3 + gpu) + draw.randint(-60, 60) for gpu in range(8)))
    assert len(node.api.patches) <= 6


def test_processes_that_come_and_go_do_not_flood() -> None:
    """Two gibibytes on each GPU for ten seconds out of every twenty: told once, and not taken back."""
    node = BusyNode()
    for turn in range(720):
        node.measure(*([2000] * 8 if turn % 4 < 2 else []))
    assert (len(node.api.patches), node.told()) == (1, [2000] * 8)


def test_growth_is_told_at_once_and_then_at_most_every_30_seconds() -> None:
    """A process outside that grows by a unit every five seconds."""
    node = BusyNode()
    node.measure()
    told = [node.measure(1000 * turn)[0] for turn in range(1, 14)]
    assert told == [1000] * 6 + [7000] * 6 + [13000]


def test_what_shrank_is_told_after_a_minute() -> None:
    """Only if it stays so; a unit that is begun is used."""
    node = BusyNode()
    node.measure(5000)
    told = [node.measure(size)[0] for size in [100] * 6 + [5000] + [100] * 13]
    assert told == [5000] * 19 + [100]


def test_health_is_told_at_once() -> None:
    """Whatever was written a moment ago, and with the memory as it is by then."""
    node = BusyNode()
    node.measure()
    node.measure(3000)
    node.samples = (replace(node.samples[0], healthy=False, reason="XID 79"), *node.samples[1:])
    node.feed.step()
    assert (node.measure(9000)[0], len(node.api.patches)) == (9000, 3)


def test_a_gpu_that_cannot_be_measured_keeps_what_was_told() -> None:
    """A GPU that is lost for a moment has not lost what is on it; a plugin that starts anew knows nothing yet."""
    node = BusyNode()
    node.measure(3000)
    node.outside_mib = {}
    assert node.look()[0] == 3000
    node.restart()
    assert (node.look()[0], node.measure(3000)[0], len(node.api.patches)) == (3000, 3000, 1)


@pytest.mark.parametrize("published", ["nonsense", '{"version":1,"unitMib":256,"gpus":[]}'])
def test_another_inventory_is_replaced(published: str) -> None:
    """Unreadable, or of another unit."""
    node = BusyNode()
    body = {"metadata": {**Node.fresh("2")["metadata"], "annotations": {NAMES.inventory_annotation: published}}}
    node.api.objects[PATH] = body
    node.reporter.take(notes(body))
    assert node.measure(700)[0] == 700
