"""The stages fit the budget, and are those that the documentation and the result know."""

import re
from dataclasses import fields
from pathlib import Path

from bench.gpu_day.findings import Findings
from bench.gpu_day.hanging import GRACE_S
from bench.gpu_day.order import STAGES

PAGE = Path(__file__).parents[3] / "docs" / "enforcement.md"
BUDGET_S, MOST_S = 500.0, 540.0


def test_a_stage_is_a_field_of_the_findings() -> None:
    """What it finds is kept under its name."""
    assert [stage.name for stage in STAGES] == [field.name for field in fields(Findings)]


def test_the_page_has_every_stage() -> None:
    """In their order."""
    text = PAGE.read_text(encoding="utf-8").partition("| stage | what it answers |")[2]
    assert re.findall(r"^\| `(\w+)` \| .* \|$", text, re.MULTILINE) == [stage.name for stage in STAGES]


def test_the_day_ends_in_nine_minutes() -> None:
    """Even if the driver hangs; and what is run by default has its time within the budget."""
    assert BUDGET_S + GRACE_S <= MOST_S
    usual = [stage for stage in STAGES if stage.name not in {"colocate", "fault"}]
    colocate = next(stage for stage in STAGES if stage.name == "colocate")
    assert sum(stage.limit_s for stage in usual) + colocate.least_s <= BUDGET_S
    assert [stage.name for stage in STAGES if stage.least_s > stage.limit_s] == []
