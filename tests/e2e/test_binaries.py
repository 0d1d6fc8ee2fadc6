"""The tests find the Kubernetes programs, and say how to get them where there are none."""

from pathlib import Path

import pytest

from tests.e2e.binaries import CONTROL_PLANE, NODE, Binaries, find_binaries


def folder_with(folder: Path, names: tuple[str, ...]) -> Path:
    """Fill `folder` with programs of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


def test_kubebuilder_assets_is_taken_when_it_is_complete(tmp_path: Path) -> None:
    """The convention of envtest; a node's programs are not part of it."""
    folder = folder_with(tmp_path, CONTROL_PLANE)
    found = find_binaries({"KUBEBUILDER_ASSETS": str(folder)})
    assert found == Binaries(folder)
    assert Binaries(folder).missing_for_a_node == NODE


def test_kubebuilder_assets_without_a_scheduler_says_so(tmp_path: Path) -> None:
    """What envtest downloads lacks the scheduler, and that must not be passed over."""
    folder = folder_with(tmp_path, ("etcd", "kube-apiserver", "kubectl"))
    reason = find_binaries({"KUBEBUILDER_ASSETS": str(folder)})
    expected = f"KUBEBUILDER_ASSETS={folder} lacks kube-controller-manager, kube-scheduler: add them, or unset it and "
    assert reason == expected + "run `make kubernetes`"


def test_an_empty_cache_names_the_command_that_fills_it(tmp_path: Path) -> None:
    """Nothing is built while tests are collected."""
    reason = find_binaries({"PATH": "/usr/bin:/bin", "GPUPACK_KUBERNETES_CACHE": str(tmp_path)})
    assert reason == "the Kubernetes programs are not built yet: run `make kubernetes`, or set KUBEBUILDER_ASSETS"


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    """A path that is not there fails where it is named, not when a program is started."""
    with pytest.raises(ValueError, match="lacks kube-apiserver"):
        Binaries(folder_with(tmp_path, ("etcd", "kube-controller-manager", "kube-scheduler", "kubectl")))
