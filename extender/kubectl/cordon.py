"""`kubectl gpupack cordon` and `uncordon`: from names of GPUs to the cordon annotation of their nodes."""

import time
from collections.abc import Sequence

import click

from extender.apierrors import ApiError, ApiUnreachable
from extender.contract.cordon import CordonError
from extender.decoding import DecodeError
from extender.kubectl.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.failures import BadUsage, No, Unreachable
from extender.kubectl.gpu_targets import Target, by_node, changed, resolve, targets_of
from extender.kubectl.objects import NodeObject, read_node
from extender.kubectl.options import Options, common_options
from extender.kubectl.running import run
from extender.kubectl.session import NODES_PATH, Session, failure, segment

TRIES = 6
_PAUSE_S = 0.2


@click.command()
@common_options
@click.argument("gpus", nargs=-1, required=True, metavar="GPU...")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
def cordon(options: Options, *, gpus: tuple[str, ...], dry_run: bool) -> None:
    """Take GPUs out by hand: NODE/INDEX, or a UUID or its unique beginning.

    Pods that sit there run on; new ones go elsewhere as soon as the node's device plugin has seen it. A GPU that is
    cordoned already stays so.
    """
    _run(options, gpus, cordoned=True, dry_run=dry_run)


@click.command()
@common_options
@click.argument("gpus", nargs=-1, required=True, metavar="GPU...")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
def uncordon(options: Options, *, gpus: tuple[str, ...], dry_run: bool) -> None:
    """Bring GPUs back that were taken out by hand: NODE/INDEX, or a UUID or its unique beginning."""
    _run(options, gpus, cordoned=False, dry_run=dry_run)


def _run(options: Options, words: Sequence[str], *, cordoned: bool, dry_run: bool) -> None:
    if options.watch:
        raise BadUsage("--watch: this is done once; expected without it")
    run(options, lambda session: change(session, words, cordoned=cordoned, dry_run=dry_run))


def change(session: Session, words: Sequence[str], *, cordoned: bool, dry_run: bool = False) -> Answer:
    """Write it, and say of each GPU whether that changed anything."""
    try:
        nodes = [read_node(raw) for raw in session.items(NODES_PATH)]
    except DecodeError as error:
        raise Unreachable(f"{NODES_PATH}: {error}") from error
    targets = resolve(words, targets_of(nodes, session.options.names))
    new: set[str] = set()
    for name, chosen in by_node(targets).items():
        new |= _write(session, name, chosen, cordoned=cordoned, dry_run=dry_run)
    verb = "cordoned" if cordoned else "uncordoned"
    rows = tuple(
        (
            target.node,
            "-" if target.index is None else str(target.index),
            target.uuid,
            Cell(verb if target.uuid in new else f"already {verb}", Tone.CAREFUL if cordoned else Tone.GOOD),
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
    """Write one node's annotation unless it says so already; whoever wrote in between is not overwritten."""
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
            session.api.annotate_node(
                name, node.metadata.resource_version, {annotation: text}, session.options.timeout_s
            )
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
        raise No(f"node {name}: gone meanwhile")
    return read_node(raw)
