"""Finds the files of container runtime, CDI and kubelet where the distributions of Kubernetes have them."""

import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

import yaml

from device_plugin.doctoring.facts import CdiFile, RuntimeFile

_LARGEST_FILE = 1 << 20
_RUNTIME_FILES = (
    "etc/containerd/config.toml",
    "etc/containerd/conf.d/*.toml",
    "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "etc/k0s/containerd.toml",
    "etc/k0s/containerd.d/*.toml",
    "var/snap/microk8s/current/args/containerd.toml",
    "etc/crio/crio.conf",
    "etc/crio/crio.conf.d/*.conf",
    "etc/docker/daemon.json",
)
_CDI_FILES = ("etc/cdi/*", "var/run/cdi/*")

KUBELET_ROOT = "/var/lib/kubelet"
_KUBELET_ROOTS = (KUBELET_ROOT, "/var/lib/k0s/kubelet", "/var/snap/microk8s/common/var/lib/kubelet")
"""kubeadm, the managed clusters, k3s and RKE2 have the first."""

_DEFAULT_RUNTIME = re.compile(r"""(?<![\w-])default[_-]runtime(?:_name)?["']?\s*[=:]\s*["']([^"']*)["']""")
"""containerd's default_runtime_name, CRI-O's default_runtime and Docker's default-runtime."""


def runtime_files(root: Path) -> dict[str, RuntimeFile]:
    """What each configuration file of a container runtime says."""
    found = {}
    for path in _found(root, _RUNTIME_FILES):
        lines = [line for line in read_text(path).splitlines() if not line.lstrip().startswith("#")]
        text = "\n".join(lines)
        named = _DEFAULT_RUNTIME.findall(text)
        found[str(path)] = RuntimeFile("nvidia" in text, named[-1] if named else "")
    return found


def cdi_files(root: Path) -> dict[str, CdiFile]:
    """Every CDI specification; one that cannot be read has no kind."""
    return {str(path): _cdi_file(path) for path in _found(root, _CDI_FILES) if path.suffix in (".yaml", ".json")}


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
    running = [_root_of(arguments) for arguments in _processes(root) if PurePath(arguments[0]).name == "kubelet"]
    present = [each for each in _KUBELET_ROOTS if _is_socket(root / each.lstrip("/") / "pod-resources/kubelet.sock")]
    return tuple(dict.fromkeys((*running, *present)))


def _root_of(arguments: list[str]) -> str:
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--root-dir", "-root-dir"):
            return value if equals else "".join(arguments[number + 1 : number + 2])
    return KUBELET_ROOT


def _processes(root: Path) -> Iterator[list[str]]:
    """The arguments of every process that can be seen; those in other containers only with the host's process IDs."""
    for path in root.glob("proc/[0-9]*/cmdline"):
        arguments = read_text(path).split("\0")
        if arguments[0]:
            yield arguments


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _found(root: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]


def read_text(path: Path) -> str:
    """The beginning of a file; empty when it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST_FILE)
    except OSError:
        return ""
