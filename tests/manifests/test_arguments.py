"""The programs take the arguments and variables that the manifests give them: names, values and what they mean."""

from typing import Any

import click
import pytest
import yaml

from device_plugin.cli import main as device_plugin
from device_plugin.cli import settings_from
from extender.cli import main as extender
from tests.manifests.written import MANIFESTS, containers

COMMANDS: dict[str, click.Command] = {"device-plugin": device_plugin, "extender": extender}
OURS = [(file, each) for file, each in containers() if each["name"] in COMMANDS]
PREFIX = "GPUPACK_"
FROM_THE_NODE = {"GPUPACK_NODE_NAME": "node-1"}


@pytest.mark.parametrize(("file", "container"), OURS, ids=[file for file, _ in OURS])
def test_a_program_takes_what_it_is_given(
    file: str, container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each file, as one that is wrong would end the container at once."""
    given = {each["name"]: each.get("value") for each in container.get("env") or () if each["name"].startswith(PREFIX)}
    command = COMMANDS[container["name"]]
    assert set(given) <= {PREFIX + (parameter.name or "").upper() for parameter in command.params}, file
    for name, value in given.items():
        monkeypatch.setenv(name, FROM_THE_NODE[name] if value is None else value)
    with command.make_context("program", list(container.get("args") or ())) as context:
        options = dict(context.params)
    if command is device_plugin:
        options.pop("log_level")
        settings_from(options.pop("node_name") or "node-1", options)


def test_both_programs_are_there() -> None:
    """The plugin with each of its overlays and components, the extender in both overlays."""
    found = {name: sum(container["name"] == name for _, container in OURS) for name in COMMANDS}
    assert found == {"device-plugin": 6, "extender": 2}


def test_the_startup_taints_are_those_that_the_policy_lets_the_plugin_remove() -> None:
    """Else the API server would refuse, and the taint stay for ever."""
    policy = yaml.safe_load_all((MANIFESTS / "base" / "admission-agents.yaml").read_text(encoding="utf-8"))
    variables = {each["name"]: each["expression"] for each in next(policy)["spec"]["variables"]}
    (keys,) = (
        variable["value"]
        for _, container in OURS
        for variable in container.get("env") or ()
        if variable["name"] == "GPUPACK_STARTUP_TAINT"
    )
    assert variables["startupTaints"] == f"'{keys}'.split(' ')"
