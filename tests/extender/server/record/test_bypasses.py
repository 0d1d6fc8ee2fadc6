"""A pod that was placed past gpupack is told of once, with the GPU that it is charged to."""

from collections.abc import Collection

import pytest
from msgspec.structs import replace

from extender.contract.units import GpuUuid
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.pods.footprint import Footprint
from extender.server.record.bypasses import BYPASSED, Bypasses
from tests.extender.scheduling.builders import on, pod, shares, uuid
from tests.fakes.news import KeptNews

OURS = ("gpupack-scheduler",)


class Watched:
    """Bypasses whose news is kept; every pod of unknown place is charged to the first GPU."""

    def __init__(
        self, ours: Collection[str] = OURS, limit: int = 10, charged: Collection[GpuUuid] = (uuid(0),)
    ) -> None:
        self.kept = KeptNews()
        self.bypasses = Bypasses(lambda: ours, lambda _pod: charged, self.kept.put, limit)

    def messages(self, *pods: PodRecord) -> list[str]:
        """What has been said, once these are seen."""
        self.bypasses.seen(pods)
        return [each.message for each in self.kept.news]


def placed(uid: str = "p", footprint: Footprint | None = None, scheduler: str = "default-scheduler") -> PodRecord:
    """A pod with GPU memory that a scheduler bound without an allocation."""
    return replace(pod(uid, node="n1", request=shares(8), footprint=footprint), scheduler=scheduler)


def test_it_says_who_placed_the_pod_where_it_is_charged_and_what_to_write() -> None:
    """As a Warning on the pod, which has the same name whichever replica writes it."""
    watched = Watched()
    (message,) = watched.messages(placed())
    assert message == (
        "Placed past gpupack, by default-scheduler or by hand: nobody chose its GPUs. It is charged to the emptiest "
        "GPU of n1 (GPU-0) until the device plugin reports. Create it with schedulerName: gpupack-scheduler."
    )
    (news,) = watched.kept.news
    assert (news.uid, news.level, news.reason, news.once) == ("p", "Warning", BYPASSED, True)


def test_what_the_kubelet_gave_it_is_said_where_it_is_known() -> None:
    """As after a restart of the extender."""
    (message,) = Watched().messages(placed(footprint=on({1: 8})))
    assert "nobody chose its GPUs. The kubelet gave it GPU-1. Create" in message


def test_a_node_whose_gpus_are_not_known_yet_is_named_alone() -> None:
    """Pods may be listed before nodes."""
    (message,) = Watched(charged=()).messages(placed())
    assert "charged to the emptiest GPU of n1 until" in message


def test_a_pod_is_told_of_once() -> None:
    """However often it is seen; the oldest of too many is forgotten first."""
    watched = Watched(limit=2)
    assert len(watched.messages(placed(), placed(), placed(footprint=on({1: 8})))) == 1
    assert len(watched.messages(placed("q"), placed("p"), placed("r"), placed("p"))) == 3
    assert len(watched.messages(placed("q"))) == 4


@pytest.mark.parametrize(
    "other",
    [
        placed(scheduler="gpupack-scheduler"),
        replace(placed(), node=""),
        replace(placed(), request=None),
        replace(placed(), ended=True),
        replace(placed(), policy="binpack"),
        replace(placed(), placed_at="2026-01-31T12:00:00Z"),
    ],
    ids=["ours", "pending", "no GPU", "ended", "planned", "planned at"],
)
def test_any_other_pod_is_not_told_of(other: PodRecord) -> None:
    """Ours, those without GPUs, and those that an extender has placed under whatever name."""
    assert Watched().messages(other) == []


def test_without_a_name_to_compare_nothing_is_said() -> None:
    """It is not known which schedulers ask this extender."""
    assert Watched(ours=()).messages(placed()) == []
