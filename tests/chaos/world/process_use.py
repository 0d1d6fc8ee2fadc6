"""Reads from /proc what a process uses: threads, open descriptors, memory."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process uses at one moment."""

    threads: int
    descriptors: int
    rss_mib: float

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.descriptors} descriptors, {self.rss_mib:.0f} MiB"


def use_of(pid: int) -> ProcessUse:
    """What the process uses now.

    Raises:
        OSError: it does not run.
    """
    folder = Path("/proc") / str(pid)
    lines = (folder / "status").read_text(encoding="ascii", errors="replace").splitlines()
    values = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    descriptors = sum(1 for _ in (folder / "fd").iterdir())
    return ProcessUse(int(values["Threads"]), descriptors, int(values["VmRSS"]) / 1024)
