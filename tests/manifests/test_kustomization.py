"""The file that users edit, manifests/kustomization.yaml, does what its comments say."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import fences
from tests.e2e.binaries import Binaries, find_binaries

MANIFESTS = Path(__file__).parents[2] / "manifests"
FILE = "kustomization.yaml"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def kubectl() -> str:
    """The kubectl that renders the kustomizations."""
    found = find_binaries()
    if not isinstance(found, Binaries):
        pytest.skip(found)
    return str(found.kubectl)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of manifests/ to edit."""
    return shutil.copytree(MANIFESTS, tmp_path / "manifests")


def rendered(kubectl: str, folder: Path) -> list[dict[str, Any]]:
    """The objects of a folder."""
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def images(objects: list[dict[str, Any]]) -> set[str]:
    """Every image of the objects' pods."""
    specs = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("Deployment", "DaemonSet")]
    return {container["image"] for spec in specs for container in spec["containers"]}


def test_as_it_is_it_installs_the_second_scheduler(kubectl: str) -> None:
    """Nothing more, nothing less."""
    assert rendered(kubectl, MANIFESTS) == rendered(kubectl, MANIFESTS / "overlays" / "second-scheduler")


def test_what_is_commented_out_can_be_used(kubectl: str, clone: Path) -> None:
    """Dashboards and every component together."""
    text = (clone / FILE).read_text(encoding="utf-8")
    (clone / FILE).write_text(re.sub(r"(?m)^#(  - )", r"\1", text), encoding="utf-8")
    objects = rendered(kubectl, clone)
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    assert names >= {("DaemonSet", "gpupack-mps"), ("PrometheusRule", "gpupack"), ("ConfigMap", "gpupack-dashboards")}
    found = yaml.safe_load((clone / FILE).read_text(encoding="utf-8"))
    assert {Path(each).name for each in found["components"]} == {
        path.name for path in (MANIFESTS / "components").iterdir()
    }


def test_images_come_from_where_it_says(kubectl: str, clone: Path) -> None:
    """Those of the components as well."""
    found = yaml.safe_load((clone / FILE).read_text(encoding="utf-8"))
    found["components"] = ["components/mps"]
    for number, image in enumerate(found["images"]):
        image |= {"newName": f"registry.example/{number}", "newTag": "7"}
    (clone / FILE).write_text(yaml.safe_dump(found), encoding="utf-8")
    assert images(rendered(kubectl, clone)) == {f"registry.example/{number}:7" for number in range(3)}


def test_another_root_folder_of_the_kubelet_is_the_patch_of_the_page(kubectl: str, clone: Path) -> None:
    """Only podresources moves."""
    page = MANIFESTS.parent / "docs" / "install.md"
    (patch,) = (fence.text for fence in fences(page) if "pod-resources" in fence.text)
    with (clone / FILE).open("a", encoding="utf-8") as file:
        file.write(patch)
    (plugin,) = (each for each in rendered(kubectl, clone) if each["kind"] == "DaemonSet")
    folders = {each["name"]: each["hostPath"]["path"] for each in plugin["spec"]["template"]["spec"]["volumes"]}
    assert folders == {
        "device-plugins": "/var/lib/kubelet/device-plugins",
        "pod-resources": "/var/lib/k0s/kubelet/pod-resources",
        "dev": "/dev",
    }
