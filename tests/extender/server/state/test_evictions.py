"""A nominated pod waits for its victims to be seen gone instead of being refused into another round of evictions."""

from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import ContainerRequest, pod_request
from extender.scheduling.preemption import Victims
from extender.server.state.evictions import MAX_REMEMBERED, Evictions
from tests.extender.scheduling.builders import BINPACK, UNIT_MIB, holder, node, on

REQUEST = pod_request((ContainerRequest("main", memory_units=16),))
PREEMPTOR = PodRecord("urgent", request=REQUEST, nominated_node="node")
FULL = node(16, holders=[holder("low-a", on({0: 8})), holder("low-b", on({0: 8}))])
HALF = node(16, holders=[holder("low-b", on({0: 8}))])
STRANGER = node(16, holders=[holder("other", on({0: 8}))])


def _awaited(at: NodeInfo | None, *victims: str) -> bool:
    evictions = Evictions(UNIT_MIB)
    evictions.remember("urgent", {"node": Victims(victims)})
    return evictions.awaited(PREEMPTOR, REQUEST, BINPACK, at)


def test_victims_that_still_hold_the_memory_are_awaited() -> None:
    """All of them, or the last one."""
    assert [_awaited(FULL, "low-a", "low-b"), _awaited(HALF, "low-a", "low-b")] == [True, True]


def test_what_no_eviction_would_change_is_a_refusal() -> None:
    """Gone victims, victims that are not enough, another node, another pod, an unknown node."""
    assert [_awaited(STRANGER, "low-a"), _awaited(FULL, "low-a"), _awaited(None, "low-a")] == [False, False, False]
    evictions = Evictions(UNIT_MIB)
    assert not evictions.awaited(PREEMPTOR, REQUEST, BINPACK, FULL)
    evictions.remember("urgent", {"node": Victims(("low-a", "low-b"))})
    evictions.forget("urgent")
    assert not evictions.awaited(PREEMPTOR, REQUEST, BINPACK, FULL)


def test_what_is_remembered_is_bounded() -> None:
    """The oldest answer goes first."""
    evictions = Evictions(UNIT_MIB)
    evictions.remember("urgent", {"node": Victims(("low-a", "low-b"))})
    for number in range(MAX_REMEMBERED):
        evictions.remember(f"pod-{number}", {})
    assert not evictions.awaited(PREEMPTOR, REQUEST, BINPACK, FULL)
