"""The doctor knows every trap of a KubeSchedulerConfiguration by its field."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extender.contract.findings import Level
from extender.kubectl.doctoring.facts import DoctorFacts, configurations
from extender.kubectl.doctoring.scheduler_checks import check_schedulers
from tests.extender.kubectl.views import view

SHIPPED = Path(__file__).parents[4] / "manifests" / "overlays" / "second-scheduler" / "scheduler-config.yaml"


def scheduler(**changes: Any) -> dict[str, Any]:
    """The configuration that is shipped, with changes to it or to its extender."""
    (config,) = configurations(SHIPPED.read_text(encoding="utf-8"))
    (entry,) = config["extenders"]
    own = {key: value for key, value in changes.items() if key == "percentageOfNodesToScore"}
    return {**config, **own, "extenders": [{**entry, **{key: changes[key] for key in changes.keys() - own.keys()}}]}


def managing(*names: str) -> dict[str, Any]:
    """Only these resources."""
    return {"managedResources": [{"name": f"gpupack.io/{name}", "ignoredByScheduler": False} for name in names]}


def found(**facts: Any) -> list[tuple[Level, str]]:
    """Level and text of each finding; what is wrong says what to do."""
    findings = [*check_schedulers(DoctorFacts(view(), **facts))]
    assert all(each.advice for each in findings if each.level in (Level.WARNING, Level.ERROR))
    return [(each.level, each.found) for each in findings]


def test_the_shipped_configuration_is_correct() -> None:
    """And one of another scheduler beside it does not matter."""
    other = {"kind": "KubeSchedulerConfiguration"}
    assert found(schedulers={"here": scheduler(), "there": other}) == [
        (Level.OK, "here: the extender is configured correctly")
    ]


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        (managing("gpu-mem", "gpu-core"), Level.ERROR, "managedResources lacks gpupack.io/gpu"),
        (managing("gpu-mem", "gpu"), Level.WARNING, "managedResources lacks gpupack.io/gpu-core"),
        (
            {"managedResources": [*scheduler()["extenders"][0]["managedResources"], {"ignoredByScheduler": True}]},
            Level.ERROR,
            "ignoredByScheduler is true",
        ),
        ({"ignorable": True}, Level.ERROR, "ignorable is true"),
        ({"nodeCacheCapable": False}, Level.WARNING, "nodeCacheCapable is not true"),
        ({"filterVerb": ""}, Level.ERROR, "filterVerb is not set"),
        ({"bindVerb": ""}, Level.ERROR, "bindVerb is not set"),
        ({"percentageOfNodesToScore": 0}, Level.WARNING, "percentageOfNodesToScore is not 100"),
    ],
)
def test_each_trap_is_found_alone(change: Mapping[str, Any], level: Level, words: str) -> None:
    """With its level."""
    assert found(schedulers={"here": scheduler(**change)}) == [(level, f"here: {words}")]


def test_no_configuration_is_a_warning_and_one_that_may_not_be_read_a_note() -> None:
    """It may be a file of the control plane."""
    assert found() == [
        (Level.WARNING, "no KubeSchedulerConfiguration with an extender for gpupack.io/gpu-mem was found")
    ]
    assert found(schedulers_problem="403") == [(Level.NOTE, "no configuration can be read: 403")]


def test_what_is_no_yaml_is_no_configuration() -> None:
    """Nor is a document of another kind."""
    assert list(configurations("KubeSchedulerConfiguration: [")) == []
    assert list(configurations("kind: Pod  # no KubeSchedulerConfiguration")) == []
