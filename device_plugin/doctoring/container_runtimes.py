"""Finds the container runtimes of this machine, their configuration, and which of them the kubelet uses."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from device_plugin.doctoring.distributions import argument, found_files, is_socket, kubelets, read_text
from device_plugin.doctoring.facts import RuntimeFile

_DEFAULT_RUNTIME = re.compile(r"""(?<![\w-])default[_-]runtime(?:_name)?["']?\s*[=:]\s*["']([^"']*)["']""")
"""containerd's default_runtime_name, CRI-O's default_runtime and Docker's default-runtime."""


@dataclass(frozen=True, slots=True)
class _Runtime:
    """One kind of container runtime.

    Args:
        name: for people.
        files: patterns of its configuration, in the order in which later ones win.
        sockets: where it serves kubelets.
    """

    name: str
    files: tuple[str, ...]
    sockets: tuple[str, ...]


_RUNTIMES = (
    _Runtime(
        "k3s's or RKE2's containerd",
        (
            "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
            "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        ),
        ("run/k3s/containerd/containerd.sock",),
    ),
    _Runtime(
        "k0s's containerd", ("etc/k0s/containerd.toml", "etc/k0s/containerd.d/*.toml"), ("run/k0s/containerd.sock",)
    ),
    _Runtime(
        "MicroK8s's containerd",
        ("var/snap/microk8s/current/args/containerd.toml",),
        ("var/snap/microk8s/common/run/containerd.sock",),
    ),
    _Runtime("CRI-O", ("etc/crio/crio.conf", "etc/crio/crio.conf.d/*.conf"), ("run/crio/crio.sock",)),
    _Runtime(
        "containerd",
        ("etc/containerd/config.toml", "etc/containerd/conf.d/*.toml"),
        ("run/containerd/containerd.sock",),
    ),
    _Runtime(
        "Docker",
        ("etc/docker/daemon.json",),
        ("run/cri-dockerd.sock", "run/k3s/cri-dockerd/cri-dockerd.sock", "run/dockershim.sock"),
    ),
)
"""In the order in which one is the kubelet's where no kubelet says so: a distribution has its own beside those that it
found, and CRI-O serves kubelets only. Docker needs containerd, and serves a kubelet only through another program, so
that it comes last."""

_DEFAULT_ENDPOINT = "unix:///run/containerd/containerd.sock"
"""Of a kubelet that was told none: `SetDefaults_KubeletConfiguration` in Kubernetes."""


def runtime_files(root: Path) -> dict[str, RuntimeFile]:
    """What each configuration file of a container runtime says."""
    found = {}
    for runtime in _RUNTIMES:
        for path in found_files(root, runtime.files):
            lines = [line for line in read_text(path).splitlines() if not line.lstrip().startswith("#")]
            text = "\n".join(lines)
            named = _DEFAULT_RUNTIME.findall(text)
            found[str(path)] = RuntimeFile("nvidia" in text, named[-1] if named else "", runtime.name)
    return found


def kubelet_runtime(root: Path) -> str:
    """The container runtime that the kubelet uses, else the one that it most likely uses; empty where none is seen."""
    for arguments in kubelets(root):
        named = _named(_endpoint(root, arguments))
        if named:
            return named
    serving = [each for each in _RUNTIMES if any(is_socket(root / path) for path in each.sockets)]
    configured = [each for each in _RUNTIMES if found_files(root, each.files)]
    return next((each.name for each in (*serving, *configured)), "")


def _endpoint(root: Path, arguments: list[str]) -> str:
    """The CRI endpoint that a kubelet was told: a flag wins over files, and a drop-in over the main file.

    Empty where its main file cannot be read here.
    """
    told = argument(arguments, "container-runtime-endpoint")
    if told:
        return told
    main, folder = argument(arguments, "config"), argument(arguments, "config-dir")
    files = [root / main.lstrip("/")] if main else []
    files += found_files(root, [f"{folder.strip('/')}/**/*.conf"]) if folder else []
    named = [body.get("containerRuntimeEndpoint") for body in _configurations(files)]
    endpoints = [each for each in named if isinstance(each, str) and each]
    if endpoints:
        return endpoints[-1]
    return "" if main and not read_text(files[0]) else _DEFAULT_ENDPOINT


def _configurations(files: Iterable[Path]) -> Iterator[Mapping[str, object]]:
    for file in files:
        try:
            body = yaml.safe_load(read_text(file))
        except (ValueError, yaml.YAMLError, RecursionError):
            continue
        if isinstance(body, Mapping):
            yield body


def _named(endpoint: str) -> str:
    """The runtime at an endpoint; empty for one that is not known."""
    path = endpoint.removeprefix("unix://").removeprefix("/var").lstrip("/")
    for runtime in _RUNTIMES:
        if path in {each.removeprefix("var/") for each in runtime.sockets}:
            return runtime.name
    return ""
