"""`kubectl gpupack migrate`: rewrites manifests for other GPU sharing programs, in place, as a diff or as a check."""

import difflib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, UNIT_CHOICES_MIB, UnitMib
from extender.kubectl.migrating.manifests import Kind, Migrated, migrate
from extender.kubectl.migrating.requests import GIB_MIB, MigrateOptions, MigrateOptionsError
from extender.kubectl.migrating.yamltext import ManifestError
from extender.kubectl.output.texts import counted

SUFFIXES = (".yaml", ".yml", ".json")
WOULD_CHANGE = 1
UNDECIDED = 3
STANDARD_INPUT = "-"
MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One file: its text before, and the result, or why it could not be read."""

    name: str
    before: str
    result: Migrated | None = None
    error: str = ""


@click.command(context_settings={"show_default": True})
@click.argument("paths", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if something would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
@click.option(
    "--memory-unit-mib",
    "--unit-mib",
    type=click.Choice([str(unit) for unit in UNIT_CHOICES_MIB]),
    default=str(DEFAULT_UNIT_MIB),
    help="Size of one memory unit of the gpupack installation in MiB.",
)
@click.option("--scheduler-name", default="", show_default="the cluster's", help="schedulerName of migrated pods.")
@click.option("--gpushare-unit", type=click.Choice(["GiB", "MiB"]), default="GiB", help="Unit of aliyun.com/gpu-mem.")
@click.option("--replica-memory-mib", type=int, help="Memory of one time-sliced or MPS replica of a GPU.")
@click.option("--gpu-memory-mib", type=int, help="Memory of one GPU, to convert percentages and fractions.")
@click.option("--whole-gpus", is_flag=True, help="nvidia.com/gpu alone means a GPU that is not shared.")
@click.option("--kai", is_flag=True, help="gpu-memory and gpu-fraction are KAI's even without a queue label.")
@click.option("--keep", multiple=True, metavar="NAME", help="Leave this resource or annotation as it is. Repeatable.")
@click.option(
    "--drop", multiple=True, metavar="NAME", help="Remove this resource or annotation, which gpupack lacks. Repeatable."
)
@click.option("--prefix", default="gpupack.io", help="Domain of resource and annotation names.")
@click.option("--gpu-resource", default="", show_default="PREFIX/gpu", help="Name of the whole-GPU resource.")
def command(paths: tuple[str, ...], check: bool, diff: bool, **given: Any) -> None:  # noqa: FBT001 (click passes by name)
    """Rewrite manifests to ask for gpupack's GPUs.

    Understands gpushare, HAMi, KAI and NVIDIA's time-slicing and MPS. PATHS are YAML or JSON files, folders of them, or
    - for standard input, whose result is printed. A pod is rewritten completely or not at all; where a person has to
    decide, the message names the option for it.

    Exit codes: 0 success, 1 something would change (with --check), 2 wrong usage, 3 something could not be decided or
    read.
    """
    try:
        options = _options(given)
    except (MigrateOptionsError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    outcomes = [_migrated(name, options) for name in _files(paths)]
    for outcome in outcomes:
        _report(outcome)
        if diff:
            click.echo(_diff(outcome), nl=False)
        elif not check:
            _write(outcome)
    _summary(outcomes, written=not (check or diff))
    sys.exit(_status(outcomes, check=check))


def _options(given: dict[str, Any]) -> MigrateOptions:
    return MigrateOptions(
        names=Names(given["prefix"], given["gpu_resource"]),
        unit_mib=UnitMib(int(given["memory_unit_mib"])),
        gpushare_unit_mib=GIB_MIB if given["gpushare_unit"] == "GiB" else 1,
        replica_memory_mib=given["replica_memory_mib"],
        gpu_memory_mib=given["gpu_memory_mib"],
        whole_gpus=given["whole_gpus"],
        kai=given["kai"],
        scheduler_name=given["scheduler_name"],
        keep=frozenset(given["keep"]),
        drop=frozenset(given["drop"]),
    )


def _files(paths: tuple[str, ...]) -> Iterator[str]:
    for path in dict.fromkeys(paths):
        if path != STANDARD_INPUT and Path(path).is_dir():
            yield from sorted(str(each) for each in Path(path).rglob("*") if each.suffix in SUFFIXES and each.is_file())
        else:
            yield path


def _migrated(name: str, options: MigrateOptions) -> _Outcome:
    try:
        text = _read(name)
    except (OSError, UnicodeDecodeError) as error:
        return _Outcome(name, "", error=f"cannot be read: {error}")
    try:
        return _Outcome(name, text, migrate(text, options))
    except ManifestError as error:
        return _Outcome(name, text, error=str(error))


def _read(name: str) -> str:
    if name == STANDARD_INPUT:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES} bytes, expected manifests")
    return data.decode()


def _write(outcome: _Outcome) -> None:
    """Replace the file as a whole, or print what came from standard input, unchanged if it could not be read."""
    text = outcome.result.text if outcome.result else outcome.before
    if outcome.name == STANDARD_INPUT:
        sys.stdout.buffer.write(text.encode())
    elif text != outcome.before:
        target = Path(outcome.name).resolve()
        descriptor, fresh = tempfile.mkstemp(dir=target.parent, prefix=target.name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
            Path(fresh).chmod(target.stat().st_mode & 0o7777)
            Path(fresh).replace(target)
        except OSError as error:
            Path(fresh).unlink(missing_ok=True)
            raise click.ClickException(f"{outcome.name} cannot be written: {error}") from error


def _diff(outcome: _Outcome) -> str:
    if outcome.result is None:
        return ""
    name = outcome.name.lstrip("/")
    before, after = (text.splitlines(keepends=True) for text in (outcome.before, outcome.result.text))
    return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))


def _report(outcome: _Outcome) -> None:
    if outcome.result is None:
        click.echo(f"{outcome.name}: {outcome.error}", err=True)
        return
    for finding in outcome.result.findings:
        mark = "" if finding.kind is Kind.CHANGED else f"{finding.kind.value}: "
        click.echo(f"{outcome.name}: {finding.where}: {mark}{finding.text}", err=True)


def _summary(outcomes: list[_Outcome], *, written: bool) -> None:
    results = [outcome.result for outcome in outcomes if outcome.result]
    pods = sum(result.pods for result in results)
    questions = sum(len(result.of(Kind.UNDECIDED)) for result in results)
    unread = len(outcomes) - len(results)
    verb = "rewritten" if written else "to rewrite"
    tail = f", {counted(unread, 'file')} not read" if unread else ""
    text = f"{counted(len(outcomes), 'file')}: {counted(pods, 'pod')} {verb}, {counted(questions, 'question')}{tail}"
    click.echo(text, err=True)


def _status(outcomes: list[_Outcome], *, check: bool) -> int:
    if any(outcome.result is None or outcome.result.of(Kind.UNDECIDED) for outcome in outcomes):
        return UNDECIDED
    changes = any(outcome.result and outcome.result.text != outcome.before for outcome in outcomes)
    return WOULD_CHANGE if check and changes else 0
