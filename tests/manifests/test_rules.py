"""The alerting rules use series that exist, fire when they should, and link to what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.exported import SCRAPED, Series
from tests.manifests.promql import grouping, selectors

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "manifests" / "dashboards" / "rules.yaml"
UNIT_TESTS = Path(__file__).parent / "rules_test.yaml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_rests_on_series_that_are_exported(alert: dict[str, Any], series: Series) -> None:
    """Their names and labels; `up` is Prometheus' own."""
    known = {**series, "up": frozenset[str]()}
    found = selectors(alert["expr"])
    assert found != []
    assert [each for each in found if each.name not in known] == []
    assert [each for each in found if not each.labels <= known[each.name] | SCRAPED] == []
    labels = SCRAPED.union(*(known[each.name] for each in found))
    used = set(re.findall(r"\$labels\.(\w+)", yaml.safe_dump(alert["annotations"])))
    assert used | grouping(alert["expr"]) <= labels


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_leads_to_what_to_do(alert: dict[str, Any]) -> None:
    """A heading of the documentation that has the alert's name."""
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert alert["alert"] in headings
    assert anchor == alert["alert"].lower()


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    """In the unit tests for promtool."""
    tests = yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == names
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == names


@pytest.mark.e2e
@pytest.mark.parametrize(
    "command", [("check", "rules", "--lint=all", "--lint-fatal", RULES), ("test", "rules", UNIT_TESTS)]
)
def test_promtool_agrees(programs: Path, command: tuple[str, ...]) -> None:
    """Prometheus' own parser and evaluation."""
    done = subprocess.run([programs / "promtool", *command], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
