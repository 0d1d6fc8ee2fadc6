"""From process IDs to where their processes belong, through /proc: pod, container, or the MPS server."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from .cgroups import parse_cgroup
from .processes import Owner

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of the kernel (include/uapi/linux/nsfs.h): the namespace in which NVML's PIDs mean something."""

_MPS_SERVER = "nvidia-cuda-mps"
"""Its name as /proc/PID/comm has it, which holds 15 characters."""


class ProcFolder:
    """A `Locator` over /proc.

    Args:
        folder: where the node's /proc is.
        namespace: the PID namespace that NVML counts in, as /proc/self/ns/pid shows it.
    """

    def __init__(self, folder: Path = Path("/proc"), namespace: str = INITIAL_PID_NAMESPACE) -> None:
        self._folder = folder
        self._namespace = namespace

    def obstacle(self) -> str:
        """Why PIDs cannot be looked up here; empty when they can."""
        try:
            seen = str((self._folder / "self/ns/pid").readlink())
        except OSError as error:
            return f"{self._folder}/self/ns/pid cannot be read: {error.strerror}"
        if seen == self._namespace:
            return ""
        return "the plugin does not see the node's processes: set hostPID: true in its pod"

    def locate(self, pids: Iterable[int]) -> Mapping[int, Owner]:
        """Where each process belongs; those that have ended are left out."""
        found: dict[int, Owner] = {}
        for pid in pids:
            try:
                text = (self._folder / str(pid) / "cgroup").read_text(errors="replace")
                comm = (self._folder / str(pid) / "comm").read_text(errors="replace")
            except OSError:
                continue
            place = parse_cgroup(text)
            found[pid] = Owner(
                place.pod_uid, place.container_id, place.path, is_mps_server=comm.startswith(_MPS_SERVER)
            )
        return found
