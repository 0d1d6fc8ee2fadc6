"""Starts what kube-scheduler is measured with: no extender, stubs that answer with so many nodes, and gpupack."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.simulated.processes import ExtenderProcess, ModuleProcess, free_port
from tests.e2e.schedulerconfig import ExtenderStanza, scheduler_configuration


@dataclass(frozen=True, slots=True)
class Setup:
    """`placement` of the extender, or how many names a stub keeps (0: all); neither: no extender."""

    name: str
    placement: str = ""
    keep: int | None = None


CONTENDERS = (
    Setup("none"),
    Setup("stub-one", keep=1),
    Setup("exact", placement="exact"),
    Setup("stub-16", keep=16),
    Setup("scored", placement="scored"),
    Setup("stub-all", keep=0),
)
"""In the order of a round; `scored` answers with 16 nodes by default, so `stub-16` is what it is held to."""


@contextmanager
def running(contender: Setup, kubeconfig: Path, folder: Path, percentage: int) -> Iterator[dict[str, Any]]:
    """Start the extender or stub; yields kube-scheduler's configuration for it."""
    if not contender.placement and contender.keep is None:
        yield scheduler_configuration(percentage_of_nodes_to_score=percentage)
        return
    with _process(contender, kubeconfig, folder) as process:
        stanza = ExtenderStanza(f"http://127.0.0.1:{process.port}", http_timeout_s=30)
        yield scheduler_configuration([stanza], percentage_of_nodes_to_score=percentage)


def _process(contender: Setup, kubeconfig: Path, folder: Path) -> ModuleProcess:
    if contender.placement:
        arguments = ["--log-level", "warning", "--placement", contender.placement]
        return ExtenderProcess(kubeconfig, folder / "extender.log", arguments)
    port = free_port()
    arguments = [str(port), str(kubeconfig), str(contender.keep)]
    return ModuleProcess("bench.scheduler.stub", arguments, port, log=folder / f"{contender.name}.log")
