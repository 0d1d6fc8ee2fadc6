"""Nodes of one machine type have one shape."""

from collections import Counter
from dataclasses import replace

from extender.contract.inventory import Inventory
from extender.scheduling.nodes.shape import NodeShape, capacities_of, counted, shape_of
from tests.extender.scheduling.builders import UNIT_MIB, gpus_of, mig


def test_a_few_mib_more_or_less_are_the_same_shape() -> None:
    """Allocatable memory differs between nodes of one type."""
    inventory = Inventory(UNIT_MIB, gpus_of(16, 16))
    one = shape_of(inventory, 63_900, (256 << 30) - 5_000_000)
    other = shape_of(inventory, 64_100, (256 << 30) + 7_000_000)
    assert one is other
    assert (one.units, one.capacities, one.uniform, one.cpu_cores, one.memory_gib) == (32, (16, 16), True, 64, 256)


def test_equal_shapes_are_equal_and_hash_alike() -> None:
    """However they were made."""
    one, other = NodeShape((("T4", 16),), 8, 32), NodeShape((("T4", 16),), 8, 32)
    assert (one, hash(one)) == (other, hash(other))


def test_mig_devices_make_another_shape() -> None:
    """Even of one model and size: what may be placed on them differs."""
    plain = gpus_of(9, 9)
    slices = tuple(replace(each, mig=mig(0).mig) for each in plain)
    none, one, all_ = (
        shape_of(Inventory(UNIT_MIB, gpus), 8000, 1 << 30) for gpus in (plain, (plain[0], slices[1]), slices)
    )
    assert (none.slices, one.slices, all_.slices) == ((), (False, True), (True, True))
    assert (none.uniform, one.uniform, all_.uniform) == (True, False, True)
    assert list(one.kinds()) == [(*one.gpus[0], False), (*one.gpus[1], True)]
    assert len({none, one, all_}) == 3


def test_a_node_without_inventory_has_no_gpus() -> None:
    """It may come any time."""
    assert shape_of(None, 8000, 1 << 30).gpus == ()


def test_capacities_are_the_different_sizes() -> None:
    """A GPU smaller than a unit is none."""
    assert capacities_of([NodeShape((("T4", 16), ("K1", 0))), NodeShape((("A10", 24),))]) == (16, 24)


def test_equal_shapes_are_counted_together() -> None:
    """Whether or not they are one object."""
    one, alike, other = NodeShape((("T4", 16),), 8, 32), NodeShape((("T4", 16),), 8, 32), NodeShape((), 8, 32)
    assert counted([one, other, alike, one]) == Counter({one: 3, other: 1})
    assert counted([]) == Counter()
