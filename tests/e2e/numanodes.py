"""Lets a program see a machine with several NUMA nodes, by files in the place of the kernel's.

The kubelet's topology manager knows only the nodes that cAdvisor reads from /sys/devices/system/node: each with its
CPUs, memory and distances. A mount namespace of the program's own, in which all else is as outside, holds other ones.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

_NODES = Path("/sys/devices/system/node")
_MIB_PER_NODE = 1024


def write_nodes(folder: Path, count: int) -> None:
    """Write what the kernel would show of `count` NUMA nodes, among which this machine's CPUs are dealt out."""
    cpus = [number for number in range(os.cpu_count() or 1) if Path(f"/sys/devices/system/cpu/cpu{number}").exists()]
    for node in range(count):
        own = cpus[node::count]
        place = folder / f"node{node}"
        (place / "hugepages").mkdir(parents=True)
        for cpu in own:
            (place / f"cpu{cpu}").symlink_to(f"../../cpu/cpu{cpu}")
        (place / "cpulist").write_text(",".join(map(str, own)) + "\n", encoding="ascii")
        size = f"Node {node} MemTotal: {_MIB_PER_NODE * 1024} kB\n"
        (place / "meminfo").write_text(size, encoding="ascii")
        distances = " ".join("10" if other == node else "20" for other in range(count))
        (place / "distance").write_text(distances + "\n", encoding="ascii")
    for name in ("online", "possible", "has_cpu", "has_memory"):
        (folder / name).write_text(f"0-{count - 1}\n", encoding="ascii")


def command_with_nodes(folder: Path, command: Sequence[str]) -> list[str]:
    """The command that runs another one so that it sees these nodes; what it mounts is seen outside all the same."""
    steps = ["mount --make-private /sys", f"mount --bind {shlex.quote(str(folder))} {_NODES}"]
    script = "\n".join([*steps, f"exec {shlex.join(command)}"])
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-euc", script]
