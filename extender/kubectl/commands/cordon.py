"""`kubectl gpupack cordon` and `uncordon`: take GPUs out of use, and back, by an annotation of their nodes."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from extender.contract.cordon import CordonError, cordon_text, parse_cordon
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from extender.contract.quantity import parse_digits
from extender.contract.units import ContractError, GpuUuid
from extender.kube.client import node_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError, NodeObject, read_node
from extender.kubectl.cluster.session import NODES_PATH, Session, failure, segment
from extender.kubectl.options import BadUsage, No, Options, Unreachable, common_options
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import listed
from extender.kubectl.running import run


@dataclass(frozen=True, slots=True)
class Target:
    """One GPU; `index` is None when only the node's cordon annotation still names it."""

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
        number = parse_digits(index)
        if number is None:
            raise BadUsage(f"{word!r}: expected NODE/INDEX such as {node}/0, or a GPU's UUID")
        found = [target for target in on_node if target.index == number]
        if not found:
            there = listed([str(target.index) for target in on_node if target.index is not None], 16)
            raise No(f"{word!r}: node {node} has no GPU {index}, it has {there or 'none'}")
        return found[0]
    first = next((target for target in known if target.node == word and target.index is not None), None)
    if first is not None:
        raise BadUsage(f"{word!r} is a node: name one of its GPUs, such as {word}/{first.index}")
    full = word if word.startswith("GPU-") else f"GPU-{word}"
    exact = [target for target in known if target.uuid == full]
    found = exact or [target for target in known if target.uuid.startswith(full)]
    if not word or not found:
        raise No(f"{word!r}: no GPU has a UUID that begins like this, and it is not NODE/INDEX")
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


TRIES = 6
_PAUSE_S = 0.2


@click.command()
@common_options
@click.argument("gpus", nargs=-1, required=True, metavar="GPU...")
@click.option("--dry-run", is_flag=True, help="Write nothing, only say what would be written.")
def cordon(options: Options, *, gpus: tuple[str, ...], dry_run: bool) -> None:
    """Take GPUs out of use.

    A GPU is NODE/INDEX, or a UUID or unique prefix. Pods on it keep running; new ones go elsewhere as soon as
    the node's device plugin has seen the cordon.
    """
    _run(options, gpus, cordoned=True, dry_run=dry_run)


@click.command()
@common_options
@click.argument("gpus", nargs=-1, required=True, metavar="GPU...")
@click.option("--dry-run", is_flag=True, help="Write nothing, only say what would be written.")
def uncordon(options: Options, *, gpus: tuple[str, ...], dry_run: bool) -> None:
    """Bring GPUs back into use.

    A GPU is NODE/INDEX, or a UUID or unique prefix.
    """
    _run(options, gpus, cordoned=False, dry_run=dry_run)


def _run(options: Options, words: Sequence[str], *, cordoned: bool, dry_run: bool) -> None:
    if options.watch:
        raise BadUsage("--watch: cordon and uncordon run once, expected without it")
    run(options, lambda session: change(session, words, cordoned=cordoned, dry_run=dry_run))


def change(session: Session, words: Sequence[str], *, cordoned: bool, dry_run: bool = False) -> Answer:
    """Write the annotations, and say of each GPU whether that changed anything."""
    targets = resolve(words, targets_of(session.objects(NODES_PATH, read_node), session.options.names))
    new: set[str] = set()
    for name in dict.fromkeys(target.node for target in targets):
        chosen = [target for target in targets if target.node == name]
        new |= _write(session, name, chosen, cordoned=cordoned, dry_run=dry_run)
    verb = "cordoned" if cordoned else "uncordoned"
    state = f"would be {verb}" if dry_run else verb
    rows = tuple(
        (
            target.node,
            "-" if target.index is None else str(target.index),
            target.uuid,
            Cell(state if target.uuid in new else f"already {verb}", Tone.CAREFUL if cordoned else Tone.GOOD),
        )
        for target in targets
    )
    columns = (Column("node"), Column("gpu", right=True), Column("uuid"), Column("state"))
    note = (Line("nothing was written: --dry-run", Tone.FAINT),) if dry_run else ()
    document = [
        {
            "node": target.node,
            "gpu": target.index,
            "uuid": target.uuid,
            "cordoned": cordoned,
            "changed": target.uuid in new,
            "dryRun": dry_run,
        }
        for target in targets
    ]
    return Answer(document, (Table(columns, rows), *note))


def _write(session: Session, name: str, targets: Sequence[Target], *, cordoned: bool, dry_run: bool) -> set[str]:
    """Write one node's annotation unless it is there already; a concurrent change is not overwritten."""
    annotation = session.options.names.cordon_annotation
    for attempt in range(TRIES):
        node = _node(session, name)
        try:
            text, new = changed(
                node.metadata.annotation(annotation), [target.uuid for target in targets], cordon=cordoned
            )
        except CordonError as error:
            raise No(f"node {name}: {error}; correct or remove the annotation {annotation} first") from error
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


def _node(session: Session, name: str) -> NodeObject:
    raw = session.read(f"{NODES_PATH}/{segment(name)}")
    if raw is None:
        raise No(f"node {name}: deleted in the meantime")
    try:
        return read_node(raw)
    except DecodeError as error:
        raise Unreachable(f"node {name}: {error}") from error
