"""`kubectl gpupack cost`: from the cluster to what its GPU pods cost as it is, on whole GPUs, and packed."""

from collections.abc import Sequence
from pathlib import Path

import click

from extender.capacity.case import CaseError
from extender.capacity.cost_report import (
    LEGEND,
    headline,
    namespace_rows,
    report_json,
    saving,
    scenario_rows,
    workload_rows,
)
from extender.capacity.scenarios import scenarios_of
from extender.contract.names import Names
from extender.kubectl.cluster.cost_case import NVIDIA_GPU, MemoryMib, case_of, read_usage
from extender.kubectl.cluster.prices import PriceError, PriceTable, load_prices
from extender.kubectl.cluster.session import Session
from extender.kubectl.cluster.traits import policy_in_force, policy_option
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import BadUsage, No, Options, common_options
from extender.kubectl.output.answer import Answer, Column, Line, Table, Tone
from extender.kubectl.running import run

price_option = click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    envvar="GPUPACK_PRICES",
    metavar="FILE",
    help="Price table, YAML: a list of {model, usd_per_hour, source, date}; else the shipped one.",
)


def table_of(file: Path | None) -> PriceTable:
    """The table in the file, or the shipped one.

    Raises:
        BadUsage: it is none.
    """
    try:
        return load_prices(file)
    except (PriceError, OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--prices {file}: {error}") from error


def usd_per_hour(table: PriceTable, model: str) -> float | None:
    """Dollars for one GPU of this model for an hour; None where the table does not have it."""
    price = table.find(model)
    return None if price is None else price.usd_per_hour


def usd(amount: float | None) -> str:
    """For people: `1,234.50`; "-" where nobody knows."""
    return "-" if amount is None else f"{amount:,.2f}"


_TEXT_COLUMNS = 1
"""Columns at the start of each table that hold names."""


@click.command()
@common_options
@click.option(
    "--usage",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="CSV namespace,pod,memory_mib: what pods that hold one whole GPU really use; they count as such shares.",
)
@policy_option
@price_option
def command(options: Options, *, usage: Path | None, policy: str | None, prices: Path | None) -> None:
    """Report GPUs and dollars: as it is, on whole GPUs, behind gpushare's binpack, and with gpupack.

    Per namespace and workload, with what is idle, fragmented and stranded. On a cluster without gpupack it reads
    NVIDIA's labels and nvidia.com/gpu.
    """
    table = table_of(prices)
    try:
        used = read_usage(usage) if usage is not None else None
    except (CaseError, OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--usage {usage}: {error}") from error

    def question(session: Session) -> Answer:
        view = session.view()
        own = options.names.gpu_resource == Names(options.names.prefix).gpu_resource
        if own and not any(record.inventory is not None for record in view.node_records):
            view = session.view(Names(options.names.prefix, NVIDIA_GPU))
        return cost(view, table, policy=policy, usage=used)

    run(options, question)


def cost(view: ClusterView, prices: PriceTable, *, policy: str | None = None, usage: MemoryMib | None = None) -> Answer:
    """The report on a cluster.

    Raises:
        No: it has no GPUs.
        BadUsage: a model has no price.
    """
    name, told_by = policy_in_force(view, policy)
    try:
        case = case_of(view, source="live cluster", usage=usage)
        scenarios = scenarios_of(case, prices, name)
    except CaseError as error:
        raise No(str(error)) from error
    except PriceError as error:
        raise BadUsage(f"{error} (--prices)") from error
    body: list[Table | Line] = [Line(headline(case)), Line(), _table(scenario_rows(scenarios)), Line()]
    body += [Line(saving(scenarios), Tone.HEADING), Line(), _table(namespace_rows(scenarios)), Line()]
    body += [_table(workload_rows(scenarios)), Line(), *(Line(note, Tone.CAREFUL) for note in case.notes)]
    body += [Line(LEGEND, Tone.FAINT), Line("Which nodes, and what moves: kubectl gpupack drain-advice", Tone.FAINT)]
    body.append(Line(f"policy {name} ({told_by})", Tone.FAINT, wide=True))
    return Answer({"policy": name, "policy_from": told_by, **report_json(case, scenarios)}, tuple(body))


def _table(rows: Sequence[Sequence[str]]) -> Table:
    columns = tuple(Column(title, right=at >= _TEXT_COLUMNS) for at, title in enumerate(rows[0]))
    return Table(columns, tuple(tuple(row) for row in rows[1:]))
