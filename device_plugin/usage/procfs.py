"""Looks up in /proc which pod and container a process belongs to, and whether it is an MPS server."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_plugin.usage.accounting.processes import ProcessOwner

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of the kernel (include/uapi/linux/nsfs.h): the namespace that NVML's PIDs belong to."""

_MPS_SERVER = "nvidia-cuda-mps"
"""Its name as /proc/PID/comm has it, which holds 15 characters."""


class ProcFolder:
    """A `Locator` over /proc.

    Args:
        folder: where the node's /proc is.
        namespace: the PID namespace of NVML's PIDs, as /proc/self/ns/pid shows it.
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

    def locate(self, pids: Iterable[int]) -> Mapping[int, ProcessOwner]:
        """The owner of each process; those that have ended are left out."""
        found: dict[int, ProcessOwner] = {}
        for pid in pids:
            try:
                text = (self._folder / str(pid) / "cgroup").read_text(errors="replace")
                comm = (self._folder / str(pid) / "comm").read_text(errors="replace")
            except OSError:
                continue
            place = parse_cgroup(text)
            found[pid] = ProcessOwner(
                place.pod_uid, place.container_id, place.path, is_mps_server=comm.startswith(_MPS_SERVER)
            )
        return found


_POD = re.compile(
    r"""
    (?: (?:^|/) (?:[a-z0-9]+-)* kubepods (?:-besteffort|-burstable)? -pod (?P<slice>[A-Za-z0-9_.]+?) \.slice
      | (?:^|/) [^/]*kubepods [^/]* (?:/besteffort|/burstable)? /pod (?P<folder>[A-Za-z0-9_.-]+)
    ) (?P<rest> (?:[/:].*)? ) $
    """,
    re.VERBOSE,
)
_CONTAINER = re.compile(r"^[/:](?:cri-containerd[-:]|crio-|docker-|libpod-)?([0-9a-f]{64})(?:\.scope)?(?:/|$)")
_ALONE = re.compile(r"/(?:cri-containerd-|crio-|docker-|libpod-)([0-9a-f]{64})\.scope(?:/|$)")


@dataclass(frozen=True, slots=True)
class CgroupPlace:
    """Where a process is.

    Args:
        pod_uid: the pod's UID, or for a static pod the hash that its mirror carries; empty outside of pods.
        container_id: the runtime's ID of the container; empty for a pod's process that is in none of its containers.
        path: its cgroup v2 folder from the root of the hierarchy; empty where that is not known.
    """

    pod_uid: str = ""
    container_id: str = ""
    path: str = ""


def parse_cgroup(text: str) -> CgroupPlace:
    """The place that the text of /proc/PID/cgroup stands for.

    With cgroup v1 there is a line for each hierarchy, `<n>:<controllers>:<path>`; with v2 there is `0::<path>`. The
    first line that names a pod counts, and in it the outermost pod: what is below was created by its own processes.
    """
    paths = {controllers: path for controllers, path in map(_split, text.splitlines()) if path[:1] == "/"}
    unified = _from_root(paths.get("", ""))
    for controllers, path in paths.items():
        found = _POD.search(path)
        if found is not None:
            uid = (found["slice"] or "").replace("_", "-") or found["folder"]
            container = _CONTAINER.match(found["rest"])
            container_id = container[1] if container else ""
            return CgroupPlace(uid, container_id, "" if controllers else _container_folder(unified, container_id))
    # A container of our own pod, seen from within a cgroup namespace, has no pod in its path.
    alone = next((match for match in map(_ALONE.search, paths.values()) if match), None)
    return CgroupPlace("", "" if alone is None else alone[1], unified)


def _split(line: str) -> tuple[str, str]:
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    return controllers, path


def _container_folder(path: str, container_id: str) -> str:
    """The container's own folder: a process may be in one that it created below."""
    place = path.find(container_id) if container_id else -1
    end = path.find("/", place)
    return path[:end] if place >= 0 and end >= 0 else path


def _from_root(path: str) -> str:
    """A path from the hierarchy's root; empty when that is not known.

    In a cgroup namespace the paths of other processes begin with `/..` for each step up. The names of systemd's slices
    say where they are: `a-b.slice` is in `a.slice` (systemd.slice(5)).
    """
    parts = path.split("/")[1:]
    if ".." not in parts:
        return path
    below = parts[len(parts) - 1 - parts[::-1].index("..") + 1 :]
    if not below or not below[0].endswith(".slice"):
        return ""
    words = below[0].removesuffix(".slice").split("-")
    parents = [f"{'-'.join(words[:count])}.slice" for count in range(1, len(words))]
    return "/" + "/".join([*parents, *below])
