"""From the text of /proc/PID/cgroup to the pod and the container that the process belongs to.

What the kubelet and the runtimes name their cgroups, with the systemd driver and with cgroupfs, in cgroup v1 and v2:
https://kubernetes.io/docs/concepts/architecture/cgroups and https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import re
from dataclasses import dataclass

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
    """The place that /proc/PID/cgroup tells.

    With cgroup v1 there is a line for each hierarchy, `<n>:<controllers>:<path>`; with v2 there is `0::<path>`. The
    first line that names a pod counts, and in it the outermost pod: what is below was made by its own processes.
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
    """The container's own folder: a process may sit in one that it made below."""
    place = path.find(container_id) if container_id else -1
    end = path.find("/", place)
    return path[:end] if place >= 0 and end >= 0 else path


def _from_root(path: str) -> str:
    """A path from the hierarchy's root; empty when it cannot be told.

    In a cgroup namespace the paths of others begin with `/..` for each step up. The names of systemd's slices say where
    they are: `a-b.slice` is in `a.slice` (systemd.slice(5)).
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
