"""Defines the options that all commands share, and the failures that end a command."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import wraps
from typing import Any

import click

from extender.contract.names import Names
from extender.contract.units import UNIT_CHOICES_MIB, UnitMib
from extender.kubectl.finite import FiniteRange

NO = 1
USAGE = 2
UNREACHABLE = 3


class No(click.ClickException):
    """The answer is no: an object does not exist, or something does not fit."""

    exit_code = NO


class BadUsage(click.ClickException):
    """An option, a file or the kubeconfig is invalid; the message names it, its value and what was expected."""

    exit_code = USAGE


class Unreachable(click.ClickException):
    """The API server or the extender cannot be reached, or refuses to answer."""

    exit_code = UNREACHABLE


class Output(Enum):
    """How an answer is written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Options:
    """The shared options of one call.

    Empty texts stand for defaults: kubectl's own search, the current context and its namespace, no extender; a
    `unit_mib` of None is detected. Times are in seconds.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    all_namespaces: bool = False
    output: Output = Output.TABLE
    watch: bool = False
    interval_s: float = 2.0
    color: str = "auto"
    timeout_s: float = 30.0
    extender: str = ""
    names: Names = field(default_factory=Names)
    unit_mib: UnitMib | None = None

    def __post_init__(self) -> None:
        if self.all_namespaces and self.namespace:
            raise BadUsage(f"--namespace {self.namespace} and --all-namespaces: expected one of them")
        if self.extender and not self.extender.startswith(("http://", "https://")):
            raise BadUsage(f"--extender {self.extender!r}: expected a URL such as http://127.0.0.1:39999")


_COMMON = (
    click.option("--kubeconfig", default="", metavar="FILE", help="Kubeconfig file. Default: as kubectl finds it."),
    click.option("--context", default="", help="Context of the kubeconfig. Default: its current one."),
    click.option("-n", "--namespace", default="", help="Namespace. Default: the context's."),
    click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces."),
    click.option(
        "-o", "--output", type=click.Choice([output.value for output in Output]), default="table", show_default=True
    ),
    click.option("-w", "--watch", is_flag=True, help="Repeat until Ctrl-C."),
    click.option(
        "--interval",
        "interval_s",
        type=FiniteRange(0.1, 3600),
        default=2.0,
        show_default=True,
        metavar="SECONDS",
        help="Time between two answers with --watch.",
    ),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="auto: only on a terminal, and not if NO_COLOR is set.",
    ),
    click.option(
        "--request-timeout",
        "timeout_s",
        type=FiniteRange(0.1, 3600),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long one request may take.",
    ),
    click.option(
        "--extender",
        default="",
        metavar="URL",
        envvar="GPUPACK_EXTENDER",
        help="Running extender to ask about holds and decisions, such as http://127.0.0.1:39999 after a port-forward.",
    ),
    click.option("--prefix", default="gpupack.io", envvar="GPUPACK_PREFIX", help="Domain of gpupack's names."),
    click.option(
        "--gpu-resource", default="", envvar="GPUPACK_GPU_RESOURCE", help="Whole-GPU resource. Default: PREFIX/gpu."
    ),
    click.option(
        "--memory-unit-mib",
        type=click.Choice([str(unit) for unit in UNIT_CHOICES_MIB]),
        default=None,
        envvar="GPUPACK_MEMORY_UNIT_MIB",
        help="Memory unit of the installation. Default: detected.",
    ),
)


_SHARED = {*(option.name for option in fields(Options)), "prefix", "gpu_resource", "memory_unit_mib"}


def common_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a command; its function gets them as one `Options` in its first argument."""

    @wraps(function)
    def with_options(**given: Any) -> None:
        shared = {name: given.pop(name) for name in [*given] if name in _SHARED}
        function(_options(shared), **given)

    command: Callable[..., None] = with_options
    for option in reversed(_COMMON):
        command = option(command)
    return command


def _options(given: dict[str, Any]) -> Options:
    unit = given.pop("memory_unit_mib")
    try:
        names = Names(given.pop("prefix"), given.pop("gpu_resource"))
    except ValueError as error:
        raise BadUsage(str(error)) from error
    output = Output(given.pop("output"))
    return Options(**given, output=output, names=names, unit_mib=UnitMib(int(unit)) if unit else None)
