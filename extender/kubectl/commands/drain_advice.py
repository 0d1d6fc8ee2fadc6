"""`kubectl gpupack drain-advice`: finds nodes with GPUs that could be emptied, and what would move where."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from extender.capacity.draining import DrainAdvice, Emptied, Move, advise_drain, saved_usd_per_hour
from extender.kubectl.cluster.prices import PriceTable, price_option, prices_given
from extender.kubectl.cluster.traits import cluster_of, policy_in_force, policy_option
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import Options, common_options
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import counted, natural, of_units, of_usd
from extender.kubectl.running import run
from extender.scheduling.fitting.describing import gpus_of

HOURS_A_MONTH = 730


@click.command()
@common_options
@click.option("--force", is_flag=True, help="Count bare pods as moved, although no controller recreates them.")
@policy_option
@price_option
def command(options: Options, *, force: bool, policy: str | None, prices: Path | None) -> None:
    """Find nodes with GPUs that could be emptied.

    Says what would move where, and what that saves. Every pod that kubectl drain would evict must find a place on a
    node that stays in use, by the shipped policy and by node selectors, affinity, taints, CPU, memory and number of
    pods. Nothing is changed.
    """
    table = prices_given(prices)
    run(options, lambda session: drain_advice(session.view(), table, policy=policy, force=force))


def drain_advice(view: ClusterView, prices: PriceTable, *, policy: str | None = None, force: bool = False) -> Answer:
    """The advice for the cluster as it is."""
    name, told_by = policy_in_force(view, policy)
    advice = advise_drain(cluster_of(view), name, partial(_usd_per_hour, prices), force=force)
    saved = saved_usd_per_hour((*advice.idle, *advice.emptied))
    notes = (*advice.notes, *view.warnings)
    document = {
        "policy": name,
        "policyFrom": told_by,
        "unitMib": view.unit_mib,
        "idle": [_node_document(one, view) for one in advice.idle],
        "drainable": [_node_document(one, view) for one in advice.emptied],
        "kept": [
            {"node": one.node, "pod": f"{one.pod.namespace}/{one.pod.name}", "why": one.why} for one in advice.kept
        ],
        "savedUsdPerHour": saved,
        "notes": list(notes),
    }
    body = [*_sections(advice, view), Line(_summary(advice, saved), Tone.HEADING)]
    body += [Line(note, Tone.CAREFUL) for note in notes]
    if advice.emptied:
        body.append(Line("Cordon the nodes before you drain them, idle ones too: otherwise pods may go back there."))
    body.append(Line(f"policy {name} ({told_by})", Tone.FAINT, wide=True))
    return Answer(document, tuple(body))


def _sections(advice: DrainAdvice, view: ClusterView) -> Iterable[Table | Line]:
    if advice.idle or advice.emptied:
        yield _nodes_table((*advice.idle, *advice.emptied))
        yield Line()
    moves = [(one.node, move) for one in advice.emptied for move in one.moves]
    if moves:
        yield _moves_table(moves, view)
        yield Line()
    if advice.kept:
        yield Table(
            (Column("stays in use"), Column("because of"), Column("why")),
            tuple(
                (one.node, f"{one.pod.namespace}/{one.pod.name}", one.why)
                for one in sorted(advice.kept, key=lambda one: natural(one.node))
            ),
        )
        yield Line()


def _nodes_table(nodes: Sequence[Emptied]) -> Table:
    columns = (
        Column("drain"),
        Column("pods to move", right=True),
        Column("gpus", right=True),
        Column("$/h", right=True),
        Column("state"),
    )
    rows = tuple(
        (
            one.node,
            str(len(one.moves)),
            str(one.gpus),
            of_usd(one.usd_per_hour),
            Cell("can be emptied", Tone.GOOD) if one.moves else Cell("idle already", Tone.GOOD),
        )
        for one in nodes
    )
    return Table(columns, rows)


def _moves_table(moves: Sequence[tuple[str, Move]], view: ClusterView) -> Table:
    columns = (
        Column("pod"),
        Column("owner"),
        Column("gpu memory", right=True),
        Column("from"),
        Column("to"),
        Column("gpu", right=True),
        Column("uuid", wide=True),
        Column("careful"),
    )
    rows = []
    for node, move in moves:
        gpus = _gpus(move, view)
        careful = [*(["bare pod: recreate it yourself"] if move.traits.owner is None else [])]
        careful += [f"loses {name}" for name in move.traits.loses]
        careful += [f"{name} not checked" for name in move.traits.constraints.unchecked]
        rows.append(
            (
                f"{move.pod.namespace}/{move.pod.name}",
                str(move.traits.owner or "-"),
                of_units(sum(gpu["units"] for gpu in gpus), view.unit_mib) if gpus else "-",
                node,
                move.node,
                ",".join(gpu["place"] or "?" for gpu in gpus) or "-",
                ",".join(str(gpu["uuid"]) for gpu in gpus) or "-",
                Cell("; ".join(careful), Tone.CAREFUL),
            )
        )
    return Table(columns, tuple(rows))


def _gpus(move: Move, view: ClusterView) -> list[dict[str, Any]]:
    if move.footprint is None:
        return []
    return [dict(gpu) for gpu in gpus_of(move.footprint, view.snapshot.nodes.get(move.node))]


def _summary(advice: DrainAdvice, saved: float | None) -> str:
    moved = sum(len(one.moves) for one in advice.emptied)
    what = f"{counted(len(advice.idle), 'node')} idle"
    if advice.emptied:
        what += f", {len(advice.emptied)} more could be emptied by moving {counted(moved, 'pod')}"
    if saved is None:
        return f"{what}; the saving is unknown: a GPU model has no price."
    return f"{what}: ${of_usd(saved)}/h, ${saved * HOURS_A_MONTH:,.0f} a month at list prices."


def _node_document(one: Emptied, view: ClusterView) -> dict[str, Any]:
    return {
        "node": one.node,
        "gpus": one.gpus,
        "usdPerHour": one.usd_per_hour,
        "moves": [
            {
                "namespace": move.pod.namespace,
                "pod": move.pod.name,
                "owner": str(move.traits.owner) if move.traits.owner is not None else None,
                "to": move.node,
                "gpus": _gpus(move, view),
                "loses": list(move.traits.loses),
                "unchecked": list(move.traits.constraints.unchecked),
            }
            for move in one.moves
        ],
    }


def _usd_per_hour(table: PriceTable, model: str) -> float | None:
    price = table.find(model)
    return None if price is None else price.usd_per_hour
