"""A draft becomes exactly what the class itself would have made."""

from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.drafting import draft_of
from extender.scheduling.nodes.node import GpuInfo, Holder, NodeInfo, NodeRecord


@dataclass(frozen=True, slots=True)
class Point:
    """A required field, one with a default, and one whose default is made."""

    x: int
    y: int = 7
    notes: list[str] = field(default_factory=list)


def test_a_draft_becomes_an_instance_like_any_other() -> None:
    """Of the class itself: equal, of the same hash where there is one, and frozen."""
    draft = draft_of(Point)(1, notes=["here"])
    draft.__class__ = Point
    assert type(draft) is Point
    assert draft == Point(1, 7, ["here"])
    assert repr(draft) == repr(Point(1, 7, ["here"]))
    with pytest.raises(FrozenInstanceError):
        draft.x = 2  # type: ignore[misc] # what the test is about
    pod, expected = draft_of(PodRecord)("uid", name="train"), PodRecord("uid", name="train")
    pod.__class__ = PodRecord
    assert (pod, hash(pod)) == (expected, hash(expected))


def test_defaults_are_made_for_each_draft() -> None:
    """Not shared."""
    made = draft_of(Point)
    assert made(1).notes is not made(1).notes


@pytest.mark.parametrize("record", [PodRecord, Holder, GpuInfo, NodeInfo])
def test_what_the_ledger_makes_most_has_drafts(record: type[object]) -> None:
    """None of them does anything at birth."""
    assert draft_of(record) is not record


@dataclass(slots=True)
class Mutable:
    """Not frozen."""

    x: int = 0


@dataclass(frozen=True)
class Loose:
    """Without slots."""

    x: int = 0


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (NodeRecord, "NodeRecord: works out or checks something at birth"),
        (Mutable, "Mutable: expected a frozen dataclass with slots"),
        (Loose, "Loose: expected a frozen dataclass with slots"),
        (int, "int: expected a frozen dataclass with slots"),
    ],
)
def test_what_has_no_draft(record: type[object], message: str) -> None:
    """Nothing may skip its checks."""
    with pytest.raises(TypeError, match=message):
        draft_of(record)
