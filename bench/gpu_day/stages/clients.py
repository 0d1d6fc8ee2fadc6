"""Starts the small CUDA programs of the stages, and says why where they do not start."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.gpu_day.children import Child, ChildError, Reply
from bench.gpu_day.day import Day, SkipError
from device_plugin.sampling.nvml_session import MIB

_MODULE = "bench.gpu_day.workloads.client"
_CONNECT_S = 40.0


@contextmanager
def client(day: Day, environment: Mapping[str, str], *, as_nobody: bool = False) -> Iterator[tuple[Child, Reply]]:
    """A program with a CUDA context and what it said first: `pid`, `connect_s`, `free_mib`, `total_mib`.

    Raises:
        ChildError: it has no context; the message says why.
    """
    variables = {**day.gpu.environment(), **environment}
    with Child(_MODULE, {"stand_in": day.plan.dry_run}, variables, as_nobody=as_nobody) as child:
        yield child, child.take(day.timer.at_most(_CONNECT_S))


def check_cuda(day: Day, environment: Mapping[str, str]) -> None:
    """Raise if no CUDA program works here.

    Raises:
        SkipError: the message says why.
    """
    try:
        with client(day, environment):
            return
    except ChildError as error:
        raise SkipError(f"no CUDA program works here: {error}") from error


def listed_mib(day: Day, pid: int) -> float | None:
    """What the driver lists for a process; None where it does not list it, or not how much it uses."""
    found = [process.used_bytes for process in day.gpu.reading().processes or () if process.pid == pid]
    return None if not found or found[0] is None else found[0] / MIB


def used_mib(day: Day) -> float | None:
    """Memory in use on the GPU, without what the driver reserves; None where the driver does not say."""
    used_bytes = day.gpu.reading().used_bytes
    return None if used_bytes is None else used_bytes / MIB
