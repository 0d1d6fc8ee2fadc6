"""The doctor as a command: texts for people, JSON for scripts, and an exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_plugin.cli import main
from extender.contract.findings import Finding, Level, report
from tests.device_plugin.apiside import api_side


def test_a_report_says_what_to_do() -> None:
    """Below what was found."""
    findings = [
        Finding("driver", Level.OK, "NVIDIA driver 615.1"),
        Finding("mps", Level.ERROR, "no daemon", "start it"),
    ]
    assert report(findings).splitlines() == [
        "ok      driver       NVIDIA driver 615.1",
        "ERROR   mps          no daemon",
        "                     -> start it",
        "1 errors, 0 warnings",
    ]


def test_of_a_cluster_without_gpus(tmp_path: Path) -> None:
    """It needs no node name; what cannot be read is no error."""
    with api_side(tmp_path):
        arguments = ["doctor", "--no-node", "--json", "--kubeconfig", str(tmp_path / "kubeconfig")]
        result = CliRunner().invoke(main, arguments, env={"NODE_NAME": None, "GPUPACK_NODE_NAME": None})
    found = {each["check"]: each["level"] for each in json.loads(result.stdout)}
    assert (result.exit_code, found) == (
        0,
        {"rbac": "warning", "scheduler": "note", "inventory": "warning", "units": "ok", "annotations": "ok"},
    )


@pytest.mark.parametrize("extra", [["--no-node"], []])
def test_an_error_is_exit_code_1(tmp_path: Path, extra: list[str]) -> None:
    """An API server that is not there, and a machine without a kubelet."""
    sockets = ["--kubelet-dir", str(tmp_path), "--host-root", str(tmp_path)]
    arguments = ["doctor", "--kubeconfig", str(tmp_path / "none"), *sockets, *extra]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "ERROR   api server" in result.output) == (1, True)
    assert ("ERROR   kubelet" in result.output) == (not extra)


def test_settings_that_cannot_work_end_it_with_2() -> None:
    """As the plugin's."""
    assert CliRunner().invoke(main, ["doctor", "--prefix", "a b"]).exit_code == 2


def test_it_takes_the_plugins_variables() -> None:
    """So that it can run in the plugin's own pod without options."""
    result = CliRunner().invoke(main, ["doctor"], env={"GPUPACK_PREFIX": "a b"})
    assert (result.exit_code, "prefix 'a b'" in result.output) == (2, True)
