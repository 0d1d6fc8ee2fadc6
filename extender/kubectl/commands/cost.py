"""`kubectl gpupack cost`: what the GPU pods of a cluster or a dump cost as they are, on whole GPUs, and packed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from extender.capacity.case import Case, CaseError
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
from extender.kubectl.cluster.cost_case import MemoryMib, case_of, read_usage
from extender.kubectl.cluster.dumps import view_of_dump
from extender.kubectl.cluster.prices import PriceError, PriceTable, price_option, prices_given
from extender.kubectl.cluster.traits import policy_in_force, policy_option
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.nvidia.gpus import NVIDIA_GPU
from extender.kubectl.options import BadUsage, No, Options, common_options
from extender.kubectl.output.answer import Answer, Column, Line, Table, Tone
from extender.kubectl.running import run, show
from extender.scheduling.pods.models import RequestError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TEXT_COLUMNS = 1
"""Columns at the start of each table that hold names."""


@click.command()
@common_options
@click.option(
    "--dump",
    type=_FILE,
    metavar="FILE",
    help="Report on a dump instead of the cluster: the output of `kubectl get nodes,pods -A -o json`.",
)
@click.option(
    "--usage",
    type=_FILE,
    metavar="FILE",
    help="CSV namespace,pod,memory_mib: what pods with one whole GPU really use. They count as shares of that size.",
)
@policy_option
@price_option
def command(
    options: Options, *, dump: Path | None, usage: Path | None, policy: str | None, prices: Path | None
) -> None:
    """Report GPUs and dollars, now and packed.

    Compares the cluster as it is with each pod on whole GPUs, with gpushare's binpack and with gpupack, per namespace
    and workload, with what is idle, fragmented and stranded. On a cluster without gpupack it reads NVIDIA's labels,
    nvidia.com/gpu and nvidia.com/mig-*.
    """
    table = prices_given(prices)
    try:
        used = read_usage(usage) if usage is not None else None
    except (CaseError, OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--usage {usage}: {error}") from error

    def reported(source: str, read: Callable[[Names], ClusterView]) -> Answer:
        view = read(options.names)
        own = options.names.gpu_resource == Names(options.names.prefix).gpu_resource
        if own and not any(record.inventory is not None for record in view.node_records):
            view = read(Names(options.names.prefix, NVIDIA_GPU))
        return cost(view, table, source=source, policy=policy, usage=used)

    if dump is not None:
        show(options, reported(dump.name, lambda names: view_of_dump(dump, names, options.unit_mib)))
    else:
        run(options, lambda session: reported("live cluster", session.view))


def cost(
    view: ClusterView,
    prices: PriceTable,
    *,
    source: str = "live cluster",
    policy: str | None = None,
    usage: MemoryMib | None = None,
) -> Answer:
    """The report on a cluster; `source` says for people where it was read.

    Raises:
        No: it has no GPUs.
        BadUsage: a model has no price.
    """
    name, told_by = policy_in_force(view, policy)
    try:
        case = case_of(view, source=source, usage=usage)
    except CaseError as error:
        raise No(str(error)) from error
    return case_answer(case, prices, name, policy_from=told_by)


def case_answer(case: Case, prices: PriceTable, policy: str, *, policy_from: str = "--policy") -> Answer:
    """The report on a case, whose pods `policy` packs.

    Raises:
        BadUsage: there is no such policy, or a model has no price.
    """
    try:
        scenarios = scenarios_of(case, prices, policy)
    except RequestError as error:
        raise BadUsage(f"--policy: {error}") from error
    except PriceError as error:
        raise BadUsage(f"{error} (--prices)") from error
    body: list[Table | Line] = [Line(headline(case)), Line(), _table(scenario_rows(scenarios)), Line()]
    body += [Line(saving(scenarios), Tone.HEADING), Line(), _table(namespace_rows(scenarios)), Line()]
    body += [_table(workload_rows(scenarios)), Line(), *(Line(note, Tone.CAREFUL) for note in case.notes)]
    body.append(Line(LEGEND, Tone.FAINT))
    if case.placed:
        body.append(Line("Which nodes, and what moves: kubectl gpupack drain-advice", Tone.FAINT))
    body.append(Line(f"policy {policy} ({policy_from})", Tone.FAINT, wide=True))
    return Answer({"policy": policy, "policy_from": policy_from, **report_json(case, scenarios)}, tuple(body))


def _table(rows: Sequence[Sequence[str]]) -> Table:
    columns = tuple(Column(title, right=at >= _TEXT_COLUMNS) for at, title in enumerate(rows[0]))
    return Table(columns, tuple(tuple(row) for row in rows[1:]))
