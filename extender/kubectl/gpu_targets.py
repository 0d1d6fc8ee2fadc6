"""From what people type to GPUs of nodes (`n1/0`, a UUID or its beginning), and to the cordon annotation to write."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from extender.contract.cordon import CordonError, cordon_text, parse_cordon
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from extender.contract.units import ContractError, GpuUuid
from extender.kubectl.failures import BadUsage, No
from extender.kubectl.memory_text import listed
from extender.kubectl.objects import NodeObject


@dataclass(frozen=True, slots=True)
class Target:
    """One GPU; `index` is None when it is only named in the node's cordon annotation any more."""

    node: str
    uuid: GpuUuid
    index: int | None = None

    @property
    def text(self) -> str:
        """For people."""
        place = f"{self.node}/{self.index}" if self.index is not None else self.node
        return f"{place} ({self.uuid})"


def targets_of(nodes: Iterable[NodeObject], names: Names) -> list[Target]:
    """All GPUs that can be named: those in inventories, and those that cordons still name."""
    found: list[Target] = []
    for node in nodes:
        name = node.metadata.name
        try:
            gpus = parse_inventory(node.metadata.annotation(names.inventory_annotation) or "").gpus
        except ContractError:
            gpus = ()
        found += [Target(name, gpu.uuid, gpu.index) for gpu in gpus]
        try:
            cordoned = parse_cordon(node.metadata.annotation(names.cordon_annotation) or "")
        except CordonError:
            cordoned = frozenset()
        found += [Target(name, uuid) for uuid in sorted(cordoned - {gpu.uuid for gpu in gpus})]
    return found


def resolve(words: Sequence[str], known: Sequence[Target]) -> list[Target]:
    """The GPU that each word means.

    Raises:
        BadUsage: a word means several.
        No: a word means none.
    """
    return list(dict.fromkeys(_resolve(word, known) for word in words))


def _resolve(word: str, known: Sequence[Target]) -> Target:
    node, slash, index = word.rpartition("/")
    if slash:
        on_node = [target for target in known if target.node == node]
        if not on_node:
            raise No(f"{word!r}: no node {node!r} with GPUs; kubectl gpupack top lists them")
        if not (index.isascii() and index.isdigit()):
            raise BadUsage(f"{word!r}: expected NODE/INDEX such as {node}/0, or a GPU's UUID")
        found = [target for target in on_node if target.index == int(index)]
        if not found:
            there = listed([str(target.index) for target in on_node if target.index is not None], 16)
            raise No(f"{word!r}: node {node} has no GPU {index}, it has {there or 'none'}")
        return found[0]
    full = word if word.startswith("GPU-") else f"GPU-{word}"
    exact = [target for target in known if target.uuid == full]
    found = exact or [target for target in known if target.uuid.startswith(full)]
    if not word or not found:
        raise No(f"{word!r}: no GPU has a UUID that begins so, and it is not NODE/INDEX")
    if len(found) > 1:
        raise BadUsage(f"{word!r} is ambiguous: {listed([target.text for target in found])}; expected more of the UUID")
    return found[0]


def changed(written: str | None, gpus: Iterable[GpuUuid], *, cordon: bool) -> tuple[str | None, list[GpuUuid]]:
    """The annotation with these GPUs cordoned or not, None for no annotation, and those that it changes for.

    Raises:
        CordonError: what is written cannot be read.
    """
    before = parse_cordon(written or "")
    wanted = frozenset(gpus)
    after = before | wanted if cordon else before - wanted
    return (cordon_text(after) or None) if after != before else written, sorted(after ^ before)


def by_node(targets: Iterable[Target]) -> Mapping[str, list[Target]]:
    """The targets of each node, in their order."""
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.node, []).append(target)
    return found
