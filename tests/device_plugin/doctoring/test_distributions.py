"""The files of container runtime, CDI and kubelet are found where each distribution has them."""

import socket
from pathlib import Path

import pytest

from device_plugin.doctoring.distributions import cdi_files, kubelet_roots, runtime_files
from device_plugin.doctoring.facts import CdiFile, RuntimeFile


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("etc/containerd/config.toml", "version = 2\n", RuntimeFile()),
        (
            "etc/containerd/config.toml",
            "[plugins.'io.containerd.cri.v1.runtime'.containerd]\n  default_runtime_name = 'nvidia'\n",
            RuntimeFile(has_nvidia=True, default="nvidia"),
        ),
        (
            "etc/containerd/conf.d/99-nvidia.toml",
            '# default_runtime_name = "nvidia"\ndefault_runtime_name="runc"\nBinaryName = "nvidia-container-runtime"\n',
            RuntimeFile(has_nvidia=True, default="runc"),
        ),
        (
            "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
            "[plugins.cri.containerd.runtimes.nvidia]",
            RuntimeFile(has_nvidia=True),
        ),
        ("var/lib/rancher/rke2/agent/etc/containerd/config.toml", "# nvidia", RuntimeFile()),
        ("etc/k0s/containerd.d/nvidia.toml", 'default_runtime_name = "nvidia"', RuntimeFile(True, "nvidia")),
        ("var/snap/microk8s/current/args/containerd.toml", "", RuntimeFile()),
        ("etc/crio/crio.conf.d/10-crio.conf", '[crio.runtime]\ndefault_runtime = "crun"', RuntimeFile(default="crun")),
        ("etc/docker/daemon.json", '{"debug": true, "default-runtime": "nvidia"}', RuntimeFile(True, "nvidia")),
    ],
)
def test_container_runtimes(tmp_path: Path, file: str, text: str, expected: RuntimeFile) -> None:
    """Comments do not count."""
    write(tmp_path / file, text)
    assert runtime_files(tmp_path) == {str(tmp_path / file): expected}


def test_cdi_specifications(tmp_path: Path) -> None:
    """In both forms; a broken one has no kind, and devices without a name are left out."""
    devices = "[{name: '0'}, {name: GPU-a}, 7]"
    write(tmp_path / "etc/cdi/nvidia.yaml", f"cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices: {devices}\n")
    write(tmp_path / "var/run/cdi/nic.json", '{"kind": "example.com/nic"}')
    write(tmp_path / "var/run/cdi/broken.yaml", "kind: [")
    write(tmp_path / "var/run/cdi/broken.json", "{")
    write(tmp_path / "var/run/cdi/list.json", "[1]")
    write(tmp_path / "var/run/cdi/readme.txt", "kind: x")
    assert {Path(path).name: found for path, found in cdi_files(tmp_path).items()} == {
        "nvidia.yaml": CdiFile("nvidia.com/gpu", frozenset({"0", "GPU-a"})),
        "nic.json": CdiFile("example.com/nic"),
        "broken.yaml": CdiFile(),
        "broken.json": CdiFile(),
        "list.json": CdiFile(),
    }


@pytest.mark.parametrize(
    ("arguments", "roots"),
    [
        (["/usr/bin/kubelet", "--v=2"], ("/var/lib/kubelet",)),
        (["/var/lib/k0s/bin/kubelet", "--root-dir=/var/lib/k0s/kubelet"], ("/var/lib/k0s/kubelet",)),
        (["kubelet", "--root-dir", "/data/kubelet", "--v=2"], ("/data/kubelet",)),
        (["/usr/bin/other", "--root-dir=/data"], ()),
    ],
)
def test_a_kubelet_that_runs_says_where_it_is(tmp_path: Path, arguments: list[str], roots: tuple[str, ...]) -> None:
    """By its arguments, which the plugin's pod can see; threads of the kernel have none."""
    write(tmp_path / "proc/17/cmdline", "\0".join([*arguments, ""]))
    write(tmp_path / "proc/2/cmdline", "")
    assert kubelet_roots(tmp_path) == roots


def test_a_kubelet_inside_another_program_is_found_by_its_socket(folder: Path) -> None:
    """As in MicroK8s; a folder alone is no kubelet, since a hostPath makes it."""
    (folder / "var/lib/k0s/kubelet/pod-resources").mkdir(parents=True)
    found = folder / "var/lib/kubelet/pod-resources/kubelet.sock"
    found.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(found))
        assert kubelet_roots(folder) == ("/var/lib/kubelet",)
