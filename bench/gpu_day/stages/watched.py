"""Lets two processes take memory, and compares what the plugin measures of each: the rung `watched`."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.gpu_day.children import Child, ChildError, Reply
from bench.gpu_day.daemon import NO_MPS
from bench.gpu_day.day import Day
from bench.gpu_day.stages.clients import check_cuda, client, listed_mib, used_mib
from device_plugin.pods.pod import BoundPod, ContainerNeed
from device_plugin.usage.accounting.processes import account
from device_plugin.usage.procfs import INITIAL_PID_NAMESPACE, ProcFolder
from extender.contract.units import Units

_ASK_MIB = (1500, 2500)
_STEP_MIB = 100
_GROW_S = 30.0
_CONTAINER = "main"


@dataclass(frozen=True, slots=True)
class WatchedProcess:
    """One process: what it took, and what is known of it from outside, in MiB.

    `context_mib` is what the driver listed before it took anything; `measured_mib` what the plugin gives its pod.
    None is what is not known.
    """

    taken_mib: int
    context_mib: float | None
    listed_mib: float | None
    measured_mib: int | None

    @property
    def error_mib(self) -> float | None:
        """How much more the plugin measures than context and taken memory make; None where it does not know."""
        if self.measured_mib is None or self.context_mib is None:
            return None
        return self.measured_mib - self.context_mib - self.taken_mib


@dataclass(frozen=True, slots=True)
class Watched:
    """Both processes, and what else was seen.

    Args:
        processes: each.
        gpu_per_context_mib: by how much the GPU's memory in use rose when the first process got its context.
        pids_match: whether the driver lists both under the process IDs that they have here.
        unknown: why the plugin would not know their use; empty when it would.
    """

    processes: tuple[WatchedProcess, ...]
    gpu_per_context_mib: float | None
    pids_match: bool
    unknown: str


def watched(day: Day) -> Generator[Watched, None, None]:
    """Does the plugin give each process its memory, to the MiB?

    Raises:
        SkipError: no CUDA program works here.
    """
    check_cuda(day, NO_MPS)
    with ExitStack() as stack:
        before = used_mib(day)
        children: list[Child] = []
        contexts: list[float | None] = []
        after: float | None = None
        for number in range(len(_ASK_MIB)):
            child, _ = stack.enter_context(client(day, NO_MPS))
            children.append(child)
            contexts.append(listed_mib(day, child.pid))
            after = used_mib(day) if number == 0 else after
        grown = [_grow(day, child, size) for child, size in zip(children, _ASK_MIB, strict=True)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-day-proc-")))
        pids = [child.pid for child in children]
        measured, unknown = _measured(day, pids, folder)
        reading = day.gpu.reading()
        found = tuple(
            WatchedProcess(int(answer["got_mib"]), context, listed_mib(day, pid), measured.get(pid))
            for answer, context, pid in zip(grown, contexts, pids, strict=True)
        )
        yield Watched(
            processes=found,
            gpu_per_context_mib=None if before is None or after is None else after - before,
            pids_match=set(pids) <= {process.pid for process in reading.processes or ()},
            unknown=unknown,
        )


def _grow(day: Day, child: Child, size_mib: int) -> Reply:
    try:
        return child.ask(day.timer.at_most(_GROW_S), "grow", mib=size_mib, step_mib=_STEP_MIB, how="malloc")
    except ChildError:
        return {"got_mib": 0}


def _measured(day: Day, pids: list[int], folder: Path) -> tuple[Mapping[int, int], str]:
    """What the plugin's own accounting gives the pod of each process, by process ID, and why it may not know.

    The processes are in no real pods' cgroups, since a kubelet would end them; `folder` shows them as a node's /proc
    would. Whether process IDs are looked up right in a real /proc does not depend on the GPU.
    """
    pods: dict[str, BoundPod] = {}
    (folder / "self/ns").mkdir(parents=True)
    (folder / "self/ns/pid").symlink_to(INITIAL_PID_NAMESPACE)
    for pid in pids:
        uid, container_id = f"{pid:08x}-0000-4000-8000-000000000000", f"{pid:064x}"
        process = folder / str(pid)
        process.mkdir()
        (process / "comm").write_text("python3\n", encoding="ascii")
        slices = f"kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{container_id}.scope"
        (process / "cgroup").write_text(f"0::/{slices}\n", encoding="ascii")
        need = ContainerNeed(_CONTAINER, memory_units=Units(2))
        allocated = {_CONTAINER: {day.gpu.uuid: Units(2)}}
        names = {container_id: _CONTAINER}
        pods[uid] = BoundPod(uid, "gpu-day", uid, (need,), allocated=allocated, admitted=True, container_ids=names)
    reading = day.gpu.reading()
    found = account((reading,), ProcFolder(folder).locate(pids), pods)
    measured = {pid: use.used_mib for use in found.uses for pid in use.pids}
    return measured, found.unknown.get(day.gpu.uuid, "")
