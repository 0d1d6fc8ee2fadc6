"""CDI specifications and kubelets are found where each distribution has them."""

import socket
from pathlib import Path

import pytest

from device_plugin.doctoring.distributions import cdi_files, kubelet_roots
from device_plugin.doctoring.facts import CdiFile


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


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
