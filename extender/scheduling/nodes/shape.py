"""Reduces a node to its shape: what nodes of one machine type have in common."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from extender.contract.inventory import Inventory

_CORE_MILLI = 1000
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class NodeShape:
    """GPUs as (model, units) in the node's order, whole cores and GiB of memory, both rounded.

    `slices` says which of the GPUs are MIG devices; it is empty where none is.

    Nodes of one machine type differ in a few MiB; rounding makes them one shape. Equal shapes made by `shape_of` are
    one object, and the hash is computed once: policies look shapes up for every node that they rank.
    """

    gpus: tuple[tuple[str, int], ...] = ()
    cpu_cores: int = 0
    memory_gib: int = 0
    slices: tuple[bool, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.gpus, self.cpu_cores, self.memory_gib, self.slices)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def units(self) -> int:
        """Units of all GPUs."""
        return sum(units for _, units in self.gpus)

    @property
    def capacities(self) -> tuple[int, ...]:
        """Units of each GPU."""
        return tuple(units for _, units in self.gpus)

    @property
    def uniform(self) -> bool:
        """Whether all its GPUs are of one model and size, and all or none of them MIG devices."""
        return len(set(self.gpus)) <= 1 and len(set(self.slices)) <= 1

    def kinds(self) -> Iterator[tuple[str, int, bool]]:
        """Of each GPU its model, its units, and whether it is a MIG device."""
        for (model, units), is_slice in zip(self.gpus, self.slices or (False,) * len(self.gpus), strict=True):
            yield model, units, is_slice


@lru_cache(maxsize=1024)
def _shape(gpus: tuple[tuple[str, int], ...], cpu_cores: int, memory_gib: int, slices: tuple[bool, ...]) -> NodeShape:
    return NodeShape(gpus, cpu_cores, memory_gib, slices)


def shape_of(inventory: Inventory | None, cpu_milli: int, memory_bytes: int) -> NodeShape:
    """The shape of a node; without an inventory it has no GPUs."""
    gpus = () if inventory is None else tuple((gpu.model, inventory.units_of(gpu)) for gpu in inventory.gpus)
    slices = () if inventory is None else tuple(gpu.mig is not None for gpu in inventory.gpus)
    cpu_cores, memory_gib = round(cpu_milli / _CORE_MILLI), round(memory_bytes / _GIB)
    return _shape(gpus, cpu_cores, memory_gib, slices if any(slices) else ())


def counted(shapes: Sequence[NodeShape]) -> Counter[NodeShape]:
    """How many of each there are.

    To hash each of thousands takes milliseconds in which no call is answered; equal ones are mostly one object.
    """
    objects = {id(shape): shape for shape in shapes}
    found: Counter[NodeShape] = Counter()
    for at, count in Counter(map(id, shapes)).items():
        found[objects[at]] += count
    return found


def capacities_of(shapes: Iterable[NodeShape]) -> tuple[int, ...]:
    """The different sizes of GPU among `shapes`, ascending; a GPU smaller than one unit is none."""
    return tuple(sorted({units for shape in shapes for _, units in shape.gpus if units}))
