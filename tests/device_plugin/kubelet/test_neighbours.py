"""Who else gives GPUs out is looked for in podresources and where NVML shows pods, and kept in mind."""

from collections.abc import Iterable

import pytest

from device_plugin.gpus.conflicts import CLAIM
from device_plugin.gpus.probation import Probation
from device_plugin.gpus.standing import ADVISORY_ONLY, Standing
from device_plugin.kubelet.neighbours import CONFLICT, Neighbours
from device_plugin.pods.events import Events
from device_plugin.pods.store import Rival
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.supervising import SupervisedSource
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, sample
from tests.device_plugin.serving import FixedSource
from tests.fakes.news import KeptNews
from tests.fakes.podresources_reader import FakePodResources

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


class Advisory:
    """Every GPU is advisory."""

    def standings(self, uuids: Iterable[GpuUuid]) -> dict[GpuUuid, Standing]:
        return dict.fromkeys(uuids, ADVISORY_ONLY)


class Node:
    """Two GPUs, and what NVML and the API server say of pods."""

    def __init__(self) -> None:
        source = SupervisedSource(FixedSource(sample("GPU-a"), sample("GPU-b", index=1)), Advisory(), Probation(0.0))
        self.feed = GpuFeed(source, UNIT_MIB, 60.0)
        self.feed.step()
        self.news = KeptNews()
        self.podresources = FakePodResources()
        self.guests: dict[GpuUuid, set[str]] = {}
        self.rivals: dict[str, Rival] = {}
        self.neighbours = Neighbours(
            podresources=self.podresources,
            source=source,
            feed=self.feed,
            events=Events(self.news, "n1"),
            interval_s=60.0,
            guests=lambda: self.guests,
            rival=lambda uid: self.rivals.get(uid),  # noqa: PLW0108 - the test puts another dictionary there
        )

    def reasons(self) -> dict[str, str]:
        """Look, and why GPUs are not offered."""
        self.neighbours.step()
        self.feed.step()
        assert self.feed.gpus is not None
        return {gpu.uuid: gpu.reason for gpu in self.feed.gpus if not gpu.healthy}


@pytest.fixture
def node() -> Node:
    """A fresh one."""
    return Node()


def test_a_gpu_on_which_a_pod_with_a_claim_runs_is_kept_out_while_the_pod_lives(node: Node) -> None:
    """The kubelet lists nothing of it; its processes may pause."""
    node.guests = {A: {"uid-p"}}
    node.rivals = {"uid-p": Rival("team", "p", frozenset({CLAIM}))}
    expected = {A: "also given out by another plugin: pod team/p runs on it and has a resource claim"}
    assert node.reasons() == expected
    node.guests = {}
    assert node.reasons() == expected
    node.rivals = {}
    assert node.reasons() == {}


def test_a_pod_that_asks_nobody_for_a_gpu_is_no_conflict(node: Node) -> None:
    """What it uses is memory outside of the ledger; the rest of the GPU can be given."""
    node.guests = {B: {"uid-q"}}
    assert (node.reasons(), node.news.said) == ({}, [])


def test_while_podresources_cannot_be_read_what_was_seen_stays(node: Node) -> None:
    """Nothing is given back on no news."""
    node.guests = {A: {"uid-p"}}
    node.rivals = {"uid-p": Rival("team", "p", frozenset({"nvidia.com/gpu"}))}
    before = node.reasons()
    node.podresources.problem = "away"
    node.rivals = {}
    assert node.reasons() == before != {}
    assert CONFLICT not in [reason for _, reason in node.news.said]
