"""The Grafana dashboards follow its schema, and every panel asks for series that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.manifests.exported import SCRAPED, Series
from tests.manifests.promql import grouping, selectors

FOLDER = Path(__file__).parents[2] / "manifests" / "dashboards"
PAGES: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
EACH = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
OF_THE_PROCESS = {"process_resident_memory_bytes": frozenset[str]()}
VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def queries(page: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and target of every query, its expression with a time where Grafana writes one."""
    for panel in page["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], {**target, "expr": target["expr"].replace("$__rate_interval", "5m")}


@EACH
def test_a_dashboard_has_nothing_that_grafanas_schema_lacks(page: dict[str, Any]) -> None:
    """It stays the same when Grafana's own library reads and writes it."""
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(page)))
    assert contained(page, written) == []
    assert page["schemaVersion"] >= 41


def contained(wanted: Any, found: Any, at: str = "") -> list[str]:
    """Where `found` lacks a part of `wanted`, or has another value."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            problem
            for key, value in wanted.items()
            for problem in (contained(value, found[key], f"{at}/{key}") if key in found else [f"{at}/{key} is unknown"])
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [problem for place, (one, other) in pairs for problem in contained(one, other, f"{at}/{place}")]
    return [] if wanted == found else [f"{at} is {found!r}, not {wanted!r}"]


@EACH
def test_panels_have_a_place_of_their_own(page: dict[str, Any]) -> None:
    """Each has an id, a title and a description, and none overlaps another."""
    panels = page["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
    assert [panel["title"] for panel in panels if panel["type"] != "row" and not panel["description"]] == []
    cells = [
        (column, line)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24


@EACH
def test_every_panel_asks_for_series_that_are_exported(page: dict[str, Any], series: Series) -> None:
    """By their names and labels, and shows labels that they have."""
    known = {**series, **OF_THE_PROCESS}
    for title, target in queries(page):
        found = selectors(target["expr"])
        assert found != [], title
        assert [each for each in found if each.name not in known] == [], title
        assert [each for each in found if not each.labels <= known[each.name] | SCRAPED] == [], title
        labels = SCRAPED.union(*(known[each.name] for each in found))
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown | grouping(target["expr"]) <= labels, title


@EACH
def test_variables_are_what_queries_choose_by(page: dict[str, Any], series: Series) -> None:
    """And their values are labels of a series that exists."""
    variables = {variable["name"]: variable for variable in page["templating"]["list"]}
    text = json.dumps(page["panels"])
    used = {name for name in VARIABLE.findall(text) if not name.startswith("__")}
    assert used == set(variables)
    for variable in variables.values():
        if variable["type"] == "query":
            name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            assert label in series[name] | SCRAPED


def test_every_series_of_a_gpu_is_on_some_dashboard(series: Series) -> None:
    """Except those for drilling down."""
    shown = {each.name for page in PAGES.values() for _, target in queries(page) for each in selectors(target["expr"])}
    left_out = {name for name in series if re.match(r"gpupack_(container_gpu|gpu)_", name)} - shown
    assert left_out == {
        "gpupack_gpu_core_enforced",
        "gpupack_gpu_info",
        "gpupack_gpu_memory_busy_ratio",
        "gpupack_gpu_memory_reserved_bytes",
        "gpupack_gpu_nvlink_links",
        "gpupack_gpu_page_retirement_pending",
        "gpupack_gpu_processes_known",
        "gpupack_gpu_remapped_rows",
        "gpupack_gpu_retired_pages",
        "gpupack_gpu_row_remapping_failed",
        "gpupack_gpu_row_remapping_pending",
        "gpupack_gpu_xids_watched",
    }
