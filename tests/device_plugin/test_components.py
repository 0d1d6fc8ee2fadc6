"""The optional parts of the manifests fit the device plugin that they change."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from device_plugin.cli import main

MANIFESTS = Path(__file__).parents[2] / "manifests"
COMPONENTS = sorted((MANIFESTS / "components").iterdir())


def documents(path: Path) -> list[dict[str, Any]]:
    """Every object of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda path: path.name)
def test_a_component_names_files_that_exist_and_patches_the_device_plugin(component: Path) -> None:
    """By the DaemonSet's and the container's own names."""
    (found,) = documents(component / "kustomization.yaml")
    assert found["kind"] == "Component"
    patches = [patch["path"] for patch in found["patches"] if "path" in patch]  # the others are of other objects
    named = {*found.get("resources", []), *patches}
    assert named == {path.name for path in component.iterdir()} - {"kustomization.yaml"}
    (base,) = documents(MANIFESTS / "base" / "device-plugin.yaml")
    for patch in patches:
        (change,) = documents(component / patch)
        assert (change["kind"], change["metadata"]) == (
            base["kind"],
            {key: base["metadata"][key] for key in ("name", "namespace")},
        )
        names = [each["name"] for each in change["spec"]["template"]["spec"]["containers"]]
        assert names == [each["name"] for each in base["spec"]["template"]["spec"]["containers"]]


def test_every_variable_of_the_components_is_an_option() -> None:
    """A mistyped one would be ignored without a word."""
    text = CliRunner().invoke(main, ["--help"]).output
    for path in sorted((MANIFESTS / "components").rglob("device-plugin-patch.yaml")):
        (change,) = documents(path)
        for each in change["spec"]["template"]["spec"]["containers"][0].get("env", []):
            if each["name"].startswith("GPUPACK_"):
                option = "--" + each["name"].removeprefix("GPUPACK_").lower().replace("_", "-")
                assert option in text, (path, each["name"])
