"""What a node offers, by physical GPU."""

from extender.scheduling.nodes.cards import cards_of, is_idle
from tests.extender.scheduling.builders import gpu, holder, info, mig, on, record


def test_the_mig_devices_of_a_gpu_are_one() -> None:
    """In the node's order."""
    place = info(record("node", (gpu(0), mig(1), mig(2), gpu(3))), [holder("a", on({2: 1}))])
    assert [[part.index for part in card] for card in cards_of(place)] == [[0], [1, 2], [3]]
    assert [is_idle(card) for card in cards_of(place)] == [True, False, True]


def test_without_mig_each_gpu_is_one() -> None:
    """Also where there is none."""
    assert [[part.index for part in card] for card in cards_of(info(record("node", (gpu(0), gpu(1)))))] == [[0], [1]]
    assert cards_of(info(record("node", ()))) == []
