"""The doctor as a command: texts for people, JSON for scripts, and an exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_plugin.cli import main
from device_plugin.doctoring.checks import check_rights
from device_plugin.doctoring.doctor import report
from device_plugin.doctoring.rights import gather_rights
from extender.contract.findings import Finding, Level
from extender.kube.errors import ApiError, ApiUnreachable
from tests.device_plugin.apiside import api_side
from tests.fakes.rights_api import RightsApi


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


def test_rights_are_asked_of_the_api_server(tmp_path: Path) -> None:
    """It needs no node name; an API server that knows no reviews is no error."""
    with api_side(tmp_path):
        arguments = ["doctor", "--json", "--kubeconfig", str(tmp_path / "kubeconfig")]
        result = CliRunner().invoke(main, arguments, env={"NODE_NAME": None, "GPUPACK_NODE_NAME": None})
    found = {each["check"]: each["level"] for each in json.loads(result.stdout)}
    assert found["rbac"] == "warning"


@pytest.mark.parametrize("extra", [["--no-rights"], []])
def test_an_error_is_exit_code_1(tmp_path: Path, extra: list[str]) -> None:
    """A machine without a kubelet, and an API server that is not there."""
    sockets = ["--kubelet-dir", str(tmp_path), "--host-root", str(tmp_path)]
    arguments = ["doctor", "--kubeconfig", str(tmp_path / "none"), *sockets, *extra]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "ERROR   kubelet" in result.output) == (1, True)
    assert ("ERROR   api server" in result.output) == (not extra)


@pytest.mark.parametrize(
    ("api", "evicts", "expected"),
    [
        (RightsApi(), True, (Level.OK, "the plugin has every right that it needs")),
        (RightsApi("patch nodes", "create pods/eviction"), False, (Level.ERROR, "not allowed: patch nodes")),
        (
            RightsApi("patch nodes", "create pods/eviction"),
            True,
            (Level.ERROR, "not allowed: patch nodes, create pods/eviction"),
        ),
    ],
)
def test_missing_rights_are_named(api: RightsApi, evicts: bool, expected: tuple[Level, str]) -> None:  # noqa: FBT001 - a table
    """Evictions only if they are turned on."""
    found = check_rights(gather_rights(api, evicts=evicts))
    assert (found.check, found.level, found.found) == ("rbac", *expected)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ApiError(404, "NotFound", "no reviews"), ("rbac", Level.WARNING)),
        (ApiUnreachable("refused", sent=False), ("api server", Level.ERROR)),
    ],
)
def test_rights_that_are_not_known(error: ApiError | ApiUnreachable, expected: tuple[str, Level]) -> None:
    """An API server without reviews is a warning, one that cannot be asked an error."""
    api = RightsApi()
    api.error = error
    found = check_rights(gather_rights(api, evicts=False))
    assert (found.check, found.level) == expected


def test_settings_that_cannot_work_end_it_with_2() -> None:
    """As the plugin's."""
    assert CliRunner().invoke(main, ["doctor", "--device-list-strategy", "no"]).exit_code == 2


def test_it_takes_the_plugins_variables() -> None:
    """So that it can run in the plugin's own pod without options."""
    result = CliRunner().invoke(main, ["doctor"], env={"GPUPACK_DEVICE_LIST_STRATEGY": "no"})
    assert (result.exit_code, "'no' is not one of" in result.output) == (2, True)
