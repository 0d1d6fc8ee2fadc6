"""Of several container runtimes on one machine, the one that the kubelet uses is found."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from device_plugin.doctoring.checks import check_node
from device_plugin.doctoring.container_runtimes import kubelet_runtime, runtime_files
from device_plugin.doctoring.facts import NodeFacts, RuntimeFile
from extender.contract.findings import Finding, Level

NVIDIA_IN_DOCKER = '{"default-runtime": "nvidia"}'
NVIDIA_BESIDE_RUNC = 'default_runtime_name = "runc"\n[runtimes.nvidia]\n'
CONTAINERD = "etc/containerd/config.toml"
DOCKER = "etc/docker/daemon.json"
BESIDE = f"(/{DOCKER} does not count: the kubelet uses containerd)"
CRIO = "etc/crio/crio.conf"


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def kubelet(root: Path, *arguments: str) -> None:
    """A kubelet that runs with these arguments."""
    write(root / "proc/17/cmdline", "\0".join(["/usr/bin/kubelet", *arguments, ""]))


def finding(root: Path, strategy: str = "envvar") -> Finding:
    """What doctor says of the runtime on a machine with these files."""
    facts = NodeFacts(runtime_files=runtime_files(root), kubelet_runtime=kubelet_runtime(root), strategy=strategy)
    (found,) = [each for each in check_node(facts) if each.check == "runtime"]
    return replace(found, found=found.found.replace(f"{root}/", "/"))


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("etc/containerd/config.toml", "version = 2\n", RuntimeFile(of="containerd")),
        (
            "etc/containerd/config.toml",
            "[plugins.'io.containerd.cri.v1.runtime'.containerd]\n  default_runtime_name = 'nvidia'\n",
            RuntimeFile(has_nvidia=True, default="nvidia", of="containerd"),
        ),
        (
            "etc/containerd/conf.d/99-nvidia.toml",
            '# default_runtime_name = "nvidia"\ndefault_runtime_name="runc"\nBinaryName = "nvidia-container-runtime"\n',
            RuntimeFile(has_nvidia=True, default="runc", of="containerd"),
        ),
        (
            "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
            "[plugins.cri.containerd.runtimes.nvidia]",
            RuntimeFile(has_nvidia=True, of="k3s's or RKE2's containerd"),
        ),
        (
            "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
            "# nvidia",
            RuntimeFile(of="k3s's or RKE2's containerd"),
        ),
        (
            "etc/k0s/containerd.d/nvidia.toml",
            'default_runtime_name = "nvidia"',
            RuntimeFile(True, "nvidia", of="k0s's containerd"),
        ),
        ("var/snap/microk8s/current/args/containerd.toml", "", RuntimeFile(of="MicroK8s's containerd")),
        (
            "etc/crio/crio.conf.d/10-crio.conf",
            '[crio.runtime]\ndefault_runtime = "crun"',
            RuntimeFile(default="crun", of="CRI-O"),
        ),
        (
            "etc/docker/daemon.json",
            '{"debug": true, "default-runtime": "nvidia"}',
            RuntimeFile(True, "nvidia", of="Docker"),
        ),
    ],
)
def test_container_runtimes(tmp_path: Path, file: str, text: str, expected: RuntimeFile) -> None:
    """Comments do not count."""
    write(tmp_path / file, text)
    assert runtime_files(tmp_path) == {str(tmp_path / file): expected}


@pytest.mark.parametrize(
    ("arguments", "runtime"),
    [
        (["--container-runtime-endpoint=unix:///run/containerd/containerd.sock"], "containerd"),
        (["--container-runtime-endpoint", "unix:///var/run/crio/crio.sock", "--v=2"], "CRI-O"),
        (["--container-runtime-endpoint=/run/cri-dockerd.sock"], "Docker"),
        (["--container-runtime-endpoint=unix:///run/k3s/containerd/containerd.sock"], "k3s's or RKE2's containerd"),
        (["--container-runtime-endpoint=unix:///run/k0s/containerd.sock"], "k0s's containerd"),
        (
            ["--container-runtime-endpoint=unix:///var/snap/microk8s/common/run/containerd.sock"],
            "MicroK8s's containerd",
        ),
        (["--config=/var/lib/kubelet/config.yaml"], "CRI-O"),
        (["--config=/var/lib/kubelet/config.yaml", "--config-dir=/etc/kubelet.conf.d/"], "Docker"),
        (
            ["--config=/var/lib/kubelet/config.yaml", "--container-runtime-endpoint=/run/k0s/containerd.sock"],
            "k0s's containerd",
        ),
        ([], "containerd"),
    ],
)
def test_a_kubelet_says_which_runtime_it_uses(tmp_path: Path, arguments: list[str], runtime: str) -> None:
    """By its flag, else by a drop-in of its configuration, else by the configuration, else it is containerd."""
    write(tmp_path / "var/lib/kubelet/config.yaml", "containerRuntimeEndpoint: unix:///var/run/crio/crio.sock\n")
    write(tmp_path / "etc/kubelet.conf.d/00-a.conf", "containerRuntimeEndpoint: unix:///run/k0s/containerd.sock\n")
    write(tmp_path / "etc/kubelet.conf.d/10-b.conf", "containerRuntimeEndpoint: unix:///var/run/cri-dockerd.sock\n")
    write(tmp_path / "etc/kubelet.conf.d/20-c.conf", "maxPods: 30\n")
    write(tmp_path / "etc/kubelet.conf.d/30-broken.conf", "[")
    kubelet(tmp_path, *arguments)
    assert kubelet_runtime(tmp_path) == runtime


@pytest.mark.parametrize(
    ("files", "sockets", "runtime"),
    [
        ([], [], ""),
        ([DOCKER], [], "Docker"),
        ([DOCKER, CONTAINERD], [], "containerd"),
        ([CONTAINERD, CRIO], [], "CRI-O"),
        ([CONTAINERD, CRIO], ["run/containerd/containerd.sock"], "containerd"),
        ([DOCKER], ["run/containerd/containerd.sock"], "containerd"),
        ([CONTAINERD], ["run/k3s/containerd/containerd.sock"], "k3s's or RKE2's containerd"),
    ],
)
def test_without_a_kubelet_to_ask_the_runtime_that_serves_counts(
    folder: Path, files: list[str], sockets: list[str], runtime: str
) -> None:
    """A kubelet may be inside another program; then sockets tell, else files, with Docker last."""
    for file in files:
        write(folder / file, "")
    for path in sockets:
        (folder / path).parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / path))
    assert kubelet_runtime(folder) == runtime


def test_a_kubelet_whose_configuration_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    """Nor does one with a runtime that is not known."""
    write(tmp_path / CRIO, "")
    kubelet(tmp_path, "--config=/nowhere.yaml")
    assert kubelet_runtime(tmp_path) == "CRI-O"
    kubelet(tmp_path, "--container-runtime-endpoint=unix:///run/other.sock")
    assert kubelet_runtime(tmp_path) == "CRI-O"


@pytest.mark.parametrize("with_kubelet", [True, False])
def test_dockers_default_does_not_count_for_containerd(tmp_path: Path, with_kubelet: bool) -> None:  # noqa: FBT001 - a case
    """Docker and containerd on one machine are common; pods get no GPU through the default of the other."""
    write(tmp_path / CONTAINERD, NVIDIA_BESIDE_RUNC)
    write(tmp_path / DOCKER, NVIDIA_IN_DOCKER)
    if with_kubelet:
        kubelet(tmp_path, "--container-runtime-endpoint=unix:///run/containerd/containerd.sock")
    found = finding(tmp_path)
    assert (found.level, found.found) == (
        Level.WARNING,
        f"nvidia is configured in /{CONTAINERD}, but the default runtime is runc {BESIDE}",
    )


def test_a_runtime_without_configuration_has_no_nvidia(tmp_path: Path) -> None:
    """Whatever another one on the machine has."""
    write(tmp_path / DOCKER, NVIDIA_IN_DOCKER)
    kubelet(tmp_path)
    found = finding(tmp_path)
    assert (found.level, found.found) == (
        Level.WARNING,
        f"nvidia is not configured in containerd, which has no configuration file {BESIDE}",
    )


def test_the_default_of_the_kubelets_runtime_counts(tmp_path: Path) -> None:
    """In either direction."""
    write(tmp_path / CONTAINERD, NVIDIA_BESIDE_RUNC)
    write(tmp_path / DOCKER, NVIDIA_IN_DOCKER)
    kubelet(tmp_path, "--container-runtime-endpoint=unix:///run/cri-dockerd.sock")
    assert finding(tmp_path).level is Level.OK
