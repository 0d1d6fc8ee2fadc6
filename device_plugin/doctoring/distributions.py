"""Finds CDI specifications and kubelets where the distributions of Kubernetes have them."""

import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

import yaml

from device_plugin.doctoring.facts import CdiFile

_LARGEST_FILE = 1 << 20
_CDI_FILES = ("etc/cdi/*", "var/run/cdi/*")

KUBELET_ROOT = "/var/lib/kubelet"
_KUBELET_ROOTS = (KUBELET_ROOT, "/var/lib/k0s/kubelet", "/var/snap/microk8s/common/var/lib/kubelet")
"""kubeadm, the managed clusters, k3s and RKE2 have the first."""


def cdi_files(root: Path) -> dict[str, CdiFile]:
    """Every CDI specification; one that cannot be read has no kind."""
    return {str(path): _cdi_file(path) for path in found_files(root, _CDI_FILES) if path.suffix in (".yaml", ".json")}


def _cdi_file(path: Path) -> CdiFile:
    text = read_text(path)
    try:
        body = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return CdiFile()
    kind = body.get("kind") if isinstance(body, Mapping) else None
    if not isinstance(kind, str):
        return CdiFile()
    devices = body.get("devices")
    names = [each.get("name") for each in devices if isinstance(each, Mapping)] if isinstance(devices, list) else []
    return CdiFile(kind, frozenset(map(str, names)))


def kubelet_roots(root: Path) -> tuple[str, ...]:
    """Root folders of the kubelets of this machine: of those that run, and where a podresources socket is."""
    running = [argument(each, "root-dir") or KUBELET_ROOT for each in kubelets(root)]
    present = [each for each in _KUBELET_ROOTS if is_socket(root / each.lstrip("/") / "pod-resources/kubelet.sock")]
    return tuple(dict.fromkeys((*running, *present)))


def kubelets(root: Path) -> list[list[str]]:
    """The arguments of every kubelet that is a process of its own."""
    return [arguments for arguments in _processes(root) if PurePath(arguments[0]).name == "kubelet"]


def argument(arguments: list[str], wanted: str) -> str:
    """The value of a command-line flag, the last one if it is repeated; empty without one."""
    found = ""
    for number, each in enumerate(arguments):
        name, equals, value = each.partition("=")
        if name in (f"--{wanted}", f"-{wanted}"):
            found = value if equals else "".join(arguments[number + 1 : number + 2])
    return found


def _processes(root: Path) -> Iterator[list[str]]:
    """The arguments of every process that can be seen; those in other containers only with the host's process IDs."""
    for path in root.glob("proc/[0-9]*/cmdline"):
        arguments = read_text(path).split("\0")
        if arguments[0]:
            yield arguments


def is_socket(path: Path) -> bool:
    """Whether a Unix socket is at a path."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def found_files(root: Path, patterns: Iterable[str]) -> list[Path]:
    """The files that match, by pattern and then by name."""
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]


def read_text(path: Path) -> str:
    """The beginning of a file; empty when it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST_FILE)
    except OSError:
        return ""
