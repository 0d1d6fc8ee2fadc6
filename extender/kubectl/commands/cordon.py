"""`kubectl gpupack cordon` and `uncordon`: take GPUs out of use, and back, by an annotation of their nodes."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from extender.contract.cordon import CordonError, cordon_text, names_of, parse_cordon
from extender.contract.inventory import parse_inventory
from extender.contract.mig import MIG_PREFIX, MigDevice, place_text
from extender.contract.names import Names
from extender.contract.quantity import parse_digits
from extender.contract.units import ContractError, GpuUuid
from extender.kube.client import node_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError, NodeObject, read_node
from extender.kubectl.cluster.session import NODES_PATH, Session, failure, segment
from extender.kubectl.options import BadUsage, No, Options, Unreachable, common_options
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import counted, listed
from extender.kubectl.running import run


@dataclass(frozen=True, slots=True)
class Target:
    """One GPU or MIG device.

    Args:
        node: its node.
        uuid: its UUID.
        index: NVML's; None when only the node's cordon annotation still names it.
        mig: which MIG device it is.
        slices: the MIG devices that it is split into, which are cordoned and uncordoned with it.
    """

    node: str
    uuid: GpuUuid
    index: int | None = None
    mig: MigDevice | None = None
    slices: tuple[GpuUuid, ...] = ()

    @property
    def place(self) -> str:
        """`0`, or `0:3` for a MIG device; empty where that is not known."""
        return "" if self.index is None else place_text(self.index, self.mig)

    @property
    def text(self) -> str:
        """For people."""
        place = f"{self.node}/{self.place}" if self.place else self.node
        return f"{place} ({self.uuid})"

    @property
    def uuids(self) -> frozenset[GpuUuid]:
        """By which it may be cordoned, as a whole or in parts."""
        return frozenset((self.uuid, *self.slices))


def targets_of(nodes: Iterable[NodeObject], names: Names) -> list[Target]:
    """All GPUs that can be named: those in inventories, and those that cordons still name."""
    found: list[Target] = []
    for node in nodes:
        name = node.metadata.name
        try:
            gpus = parse_inventory(node.metadata.annotation(names.inventory_annotation) or "").gpus
        except ContractError:
            gpus = ()
        found += [Target(name, gpu.uuid, gpu.index, gpu.mig) for gpu in gpus]
        cards: dict[tuple[GpuUuid, int], list[GpuUuid]] = {}
        for gpu in gpus:
            if gpu.mig is not None:
                cards.setdefault((gpu.mig.parent, gpu.index), []).append(gpu.uuid)
        found += [Target(name, uuid, index, slices=tuple(slices)) for (uuid, index), slices in cards.items()]
        try:
            cordoned = parse_cordon(node.metadata.annotation(names.cordon_annotation) or "")
        except CordonError:
            cordoned = frozenset()
        present = {uuid for gpu in gpus for uuid in names_of(gpu.uuid, gpu.mig)}
        found += [Target(name, uuid) for uuid in sorted(cordoned - present)]
    return found


def resolve(words: Sequence[str], known: Sequence[Target]) -> list[Target]:
    """The GPU that each word means.

    Raises:
        BadUsage: a word means several.
        No: a word means none.
    """
    return list(dict.fromkeys(_resolve(word, known) for word in words))


def _resolve(word: str, known: Sequence[Target]) -> Target:
    node, slash, place = word.rpartition("/")
    if slash:
        return _at(node, place, word, known)
    first = next((target for target in known if target.node == word and target.place and not target.slices), None)
    if first is not None:
        raise BadUsage(f"{word!r} is a node: name one of its GPUs, such as {word}/{first.place}")
    full = (word,) if word.startswith(_PREFIXES) else tuple(f"{prefix}{word}" for prefix in _PREFIXES)
    exact = [target for target in known if target.uuid in full]
    found = exact or [target for target in known if target.uuid.startswith(full)]
    if not word or not found:
        raise No(f"{word!r}: no GPU has a UUID that begins like this, and it is not NODE/INDEX")
    if len(found) > 1:
        raise BadUsage(f"{word!r} is ambiguous: {listed([target.text for target in found])}; expected more of the UUID")
    return found[0]


def _at(node: str, place: str, word: str, known: Sequence[Target]) -> Target:
    """The GPU at this place of a node."""
    on_node = [target for target in known if target.node == node]
    if not on_node:
        raise No(f"{word!r}: no node {node!r} with GPUs; kubectl gpupack top lists them")
    numbers = [parse_digits(part) for part in place.split(":")]
    if None in numbers or len(numbers) > 2:
        raise BadUsage(
            f"{word!r}: expected NODE/INDEX such as {node}/0, {node}/0:3 for MIG device 3 of GPU 0, or a UUID"
        )
    wanted = ":".join(map(str, numbers))
    found = [target for target in on_node if target.place == wanted]
    if not found:
        there = listed([target.place for target in on_node if target.place and not target.slices], 16)
        raise No(f"{word!r}: node {node} has no GPU {place}, it has {there or 'none'}")
    card = found[0]
    if card.slices:
        devices = [target.place for target in on_node if target.mig is not None and target.mig.parent == card.uuid]
        raise BadUsage(
            f"{word!r} is ambiguous: GPU {wanted} is split into {counted(len(card.slices), 'MIG device')}; name one,"
            f" such as {node}/{devices[0]}, or all of them by the UUID of the GPU, {card.uuid}"
        )
    return card


def changed(written: str | None, gpus: Iterable[GpuUuid], *, cordon: bool) -> tuple[str | None, list[GpuUuid]]:
    """The annotation with these GPUs cordoned or not, None for no annotation, and those that it changes for.

    Raises:
        CordonError: what is written cannot be read.
    """
    before = parse_cordon(written or "")
    wanted = frozenset(gpus)
    after = before | wanted if cordon else before - wanted
    return (cordon_text(after) or None) if after != before else written, sorted(after ^ before)


_PREFIXES = ("GPU-", MIG_PREFIX)
TRIES = 6
_PAUSE_S = 0.2


@click.command()
@common_options
@click.argument("gpus", nargs=-1, required=True, metavar="GPU...")
@click.option("--dry-run", is_flag=True, help="Write nothing, only say what would be written.")
def cordon(options: Options, *, gpus: tuple[str, ...], dry_run: bool) -> None:
    """Take GPUs out of use.

    A GPU is NODE/INDEX, NODE/INDEX:DEVICE for a MIG device, or a UUID or unique prefix; the UUID of a GPU means
    all of its MIG devices. Pods on it keep running; new ones go elsewhere as soon as the node's device plugin has
    seen the cordon.
    """
    _run(options, gpus, cordoned=True, dry_run=dry_run)


@click.command()
@common_options
@click.argument("gpus", nargs=-1, required=True, metavar="GPU...")
@click.option("--dry-run", is_flag=True, help="Write nothing, only say what would be written.")
def uncordon(options: Options, *, gpus: tuple[str, ...], dry_run: bool) -> None:
    """Bring GPUs back into use.

    A GPU is NODE/INDEX, NODE/INDEX:DEVICE for a MIG device, or a UUID or unique prefix; the UUID of a GPU means
    all of its MIG devices, also those that were cordoned one by one.
    """
    _run(options, gpus, cordoned=False, dry_run=dry_run)


def _run(options: Options, words: Sequence[str], *, cordoned: bool, dry_run: bool) -> None:
    if options.watch:
        raise BadUsage("--watch: cordon and uncordon run once, expected without it")
    run(options, lambda session: change(session, words, cordoned=cordoned, dry_run=dry_run))


def change(session: Session, words: Sequence[str], *, cordoned: bool, dry_run: bool = False) -> Answer:
    """Write the annotations, and say of each GPU whether that changed anything."""
    targets = resolve(words, targets_of(session.objects(NODES_PATH, read_node), session.options.names))
    new: set[GpuUuid] = set()
    for name in dict.fromkeys(target.node for target in targets):
        chosen = [target for target in targets if target.node == name]
        new |= _write(session, name, chosen, cordoned=cordoned, dry_run=dry_run)
    verb = "cordoned" if cordoned else "uncordoned"
    state = f"would be {verb}" if dry_run else verb
    rows = tuple(
        (
            target.node,
            target.place or "-",
            target.uuid,
            Cell(state if target.uuids & new else f"already {verb}", Tone.CAREFUL if cordoned else Tone.GOOD),
        )
        for target in targets
    )
    columns = (Column("node"), Column("gpu", right=True), Column("uuid"), Column("state"))
    note = (Line("nothing was written: --dry-run", Tone.FAINT),) if dry_run else ()
    document = [
        {
            "node": target.node,
            "gpu": target.index,
            "place": target.place,
            "uuid": target.uuid,
            "cordoned": cordoned,
            "changed": bool(target.uuids & new),
            "dryRun": dry_run,
        }
        for target in targets
    ]
    return Answer(document, (Table(columns, rows), *note))


def _write(session: Session, name: str, targets: Sequence[Target], *, cordoned: bool, dry_run: bool) -> set[GpuUuid]:
    """Write one node's annotation unless it is there already; a concurrent change is not overwritten."""
    annotation = session.options.names.cordon_annotation
    uuids = {uuid for target in targets for uuid in ((target.uuid,) if cordoned else target.uuids)}
    for attempt in range(TRIES):
        node = _node(session, name)
        try:
            text, new = changed(node.metadata.annotation(annotation), uuids, cordon=cordoned)
        except CordonError as error:
            raise No(f"node {name}: {error}; correct or remove the annotation {annotation} first") from error
        if not cordoned:
            _refuse_parts(targets, parse_cordon(node.metadata.annotation(annotation) or ""))
        if not new or dry_run:
            return set(new)
        try:
            # With the version that was read: a concurrent change is a conflict, never overwritten.
            patch = {"metadata": {"resourceVersion": node.metadata.resource_version, "annotations": {annotation: text}}}
            session.api.patch(node_path(name), patch, session.options.timeout_s)
        except ApiError as error:
            if error.status != 409:
                raise failure(f"node {name}", error) from error
            time.sleep(_PAUSE_S * (attempt + 1))
            continue
        except ApiUnreachable as error:
            raise failure(f"node {name}", error) from error
        return set(new)
    raise Unreachable(f"node {name}: changed by others {TRIES} times while writing; try again")


def _refuse_parts(targets: Sequence[Target], written: frozenset[GpuUuid]) -> None:
    """Refuse to uncordon a MIG device of a GPU that is cordoned as a whole: it would stay out of use."""
    chosen = {target.uuid for target in targets}
    for target in targets:
        if target.mig is not None and target.mig.parent in written and target.mig.parent not in chosen:
            raise No(
                f"{target.text}: its GPU is cordoned with all of its MIG devices; "
                f"kubectl gpupack uncordon {target.mig.parent}"
            )


def _node(session: Session, name: str) -> NodeObject:
    raw = session.read(f"{NODES_PATH}/{segment(name)}")
    if raw is None:
        raise No(f"node {name}: deleted in the meantime")
    try:
        return read_node(raw)
    except DecodeError as error:
        raise Unreachable(f"node {name}: {error}") from error
