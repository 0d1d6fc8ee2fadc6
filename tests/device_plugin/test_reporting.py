"""The Node's inventory annotation is true: at the start, after changes, and after somebody removed it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from device_plugin.gpu import Gpus, GpuSample
from device_plugin.reporting import SMALL_CHANGE_MIB, InventoryReporter, differs_enough
from device_plugin.sampling import GpuFeed
from extender.contract.names import Names
from tests.device_plugin.builders import UNIT_MIB, sample
from tests.device_plugin.waiting import until
from tests.fakes.kubelet_patches import FakePatching

PATH = "/api/v1/nodes/n1"
NAMES = Names()


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
        self.reporter = InventoryReporter(api=self.api, feed=self.feed, node_name="n1", names=NAMES)
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
            node.reporter.apply("DELETED", json.dumps(bare).encode())
        node.reporter.apply(kind, json.dumps(bare).encode())
        until(lambda: node.written() == [(0, True)])


def test_a_node_that_is_not_there_yet_is_waited_for(node: Node) -> None:
    """The kubelet creates it; the watch ends the wait."""
    del node.api.objects[PATH]
    node.feed.step()
    until(lambda: "404" in node.reporter.problem)
    node.api.objects[PATH] = node.fresh("3")
    node.reporter.replace([json.dumps(node.fresh("3")).encode()])
    until(node.written)


def test_an_api_server_that_is_away_is_tried_again(node: Node) -> None:
    """With what is true by then."""
    node.api.status = 0
    node.feed.step()
    until(lambda: len(node.api.patches) >= 2)
    node.change(outside_mib=512)
    node.api.status = None
    until(lambda: node.written() == [(512, True)])


def test_the_nodes_of_others_are_none_of_its_business(node: Node) -> None:
    """An API server that ignores the selector shows all nodes."""
    node.feed.step()
    until(node.written)
    other = {"metadata": {"name": "n2", "uid": "u", "resourceVersion": "9"}}
    node.reporter.apply("MODIFIED", json.dumps(other).encode())
    node.change(healthy=False, reason="XID 79")
    until(lambda: node.written() == [(0, False)])
    assert len(node.api.patches) == 2


@pytest.mark.parametrize(
    ("change", "enough"),
    [
        ({}, False),
        ({"outside_mib": 1000 + SMALL_CHANGE_MIB - 1}, False),
        ({"outside_mib": 1000 + SMALL_CHANGE_MIB}, True),
        ({"outside_mib": 1000, "healthy": False}, True),
        ({"memory_mib": 1}, True),
    ],
)
def test_small_changes_of_use_are_no_news(change: dict[str, Any], enough: bool) -> None:  # noqa: FBT001 - a table
    """An annotation that changes with every allocation of a process would be a write per second and node."""
    gpu = replace(sample(), outside_mib=1000)
    published = Gpus(UNIT_MIB, (gpu,)).inventory().to_json()
    assert differs_enough(published, Gpus(UNIT_MIB, (replace(gpu, **change),)).inventory()) == enough


@pytest.mark.parametrize("published", [None, "nonsense", '{"version":1,"unitMib":256,"gpus":[]}'])
def test_another_or_no_inventory_is_replaced(published: str | None) -> None:
    """Absent, unreadable, of another unit."""
    assert differs_enough(published, Gpus(UNIT_MIB, ()).inventory())
