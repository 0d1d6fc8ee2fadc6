"""What is wrong in the cluster is found in what the API server says, with something to do about each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_plugin.cluster_facts import configurations, gather_cluster
from extender.contract.findings import Finding, Level
from extender.contract.names import Names
from extender.kubectl.doctoring.cluster_checks import check_cluster
from tests.fakes.doctor_api import FakeDoctorApi

NAMES = Names()
OVERLAY = Path(__file__).parents[2] / "manifests" / "overlays" / "second-scheduler" / "scheduler-config.yaml"
SYSTEM_MAPS = "/api/v1/namespaces/gpupack-system/configmaps"


def inventory(unit_mib: int = 1024, uuid: str = "GPU-a") -> str:
    """One GPU."""
    gpu = {"uuid": uuid, "index": 0, "model": "Tesla T4", "memoryMib": 15360, "healthy": True}
    return json.dumps({"version": 1, "unitMib": unit_mib, "gpus": [gpu]})


def node(name: str = "n1", units: str | None = "15", **annotations: str) -> dict[str, Any]:
    """A Node; annotations by the last part of their names."""
    named = {f"gpupack.io/{key}": text for key, text in annotations.items()}
    allocatable = {} if units is None else {"gpupack.io/gpu-mem": units}
    return {"metadata": {"name": name, "annotations": named}, "status": {"allocatable": allocatable}}


def pod(name: str = "p", *, asks: bool = True, bound: bool = True, **annotations: str) -> dict[str, Any]:
    """A Pod."""
    named = {f"gpupack.io/{key}": text for key, text in annotations.items()}
    container = {"name": "main", "resources": {"limits": {"gpupack.io/gpu-mem": "8"}} if asks else {}}
    spec = {"containers": [container]} | ({"nodeName": "n1"} if bound else {})
    return {"metadata": {"name": name, "namespace": "team", "annotations": named}, "spec": spec}


def placed(uuid: str = "GPU-a", unit_mib: int = 1024) -> str:
    """An allocation of 8 units."""
    return json.dumps({"version": 1, "unitMib": unit_mib, "containers": {"main": {uuid: 8}}})


def scheduler(**change: Any) -> dict[str, Any]:
    """The ConfigMap of the shipped overlay, with changes to its extender or to percentageOfNodesToScore."""
    config = yaml.safe_load(OVERLAY.read_text(encoding="utf-8"))
    for key, value in change.items():
        (config if key == "percentageOfNodesToScore" else config["extenders"][0])[key] = value
    return {"metadata": {"name": "sched"}, "data": {"config.yaml": yaml.safe_dump(config), "other": "x: ["}}


def managing(*resources: str) -> dict[str, Any]:
    """The change to an extender that manages these."""
    return {"managedResources": [{"name": f"gpupack.io/{resource}"} for resource in resources]}


def api(
    nodes: list[dict[str, Any]] | None = None,
    pods: list[dict[str, Any]] | None = None,
    maps: list[dict[str, Any]] | None = None,
) -> FakeDoctorApi:
    """A cluster that is as it should be where nothing else is given."""
    return FakeDoctorApi(
        {
            "/api/v1/nodes": [node(inventory=inventory())] if nodes is None else nodes,
            "/api/v1/pods": pods or [],
            SYSTEM_MAPS: [scheduler()] if maps is None else maps,
        }
    )


def findings(fake: FakeDoctorApi, *, evicts: bool = False) -> list[Finding]:
    """What the doctor finds."""
    facts = gather_cluster(fake, NAMES, namespaces=["gpupack-system", "kube-system"], evicts=evicts)
    return check_cluster(facts, NAMES)


def wrong(fake: FakeDoctorApi) -> list[tuple[str, Level, str]]:
    """Everything that is not fine; each says what to do."""
    found = [each for each in findings(fake) if each.level is not Level.OK]
    assert all(each.advice for each in found if each.level is not Level.NOTE)
    return [(each.check, each.level, each.found) for each in found]


def test_a_good_cluster_has_only_good_findings() -> None:
    """The shipped scheduler configuration included."""
    fake = api(pods=[pod(allocation=placed(), allocated=placed()), pod("plain", asks=False)])
    assert wrong(fake) == []
    assert [each.check for each in findings(fake)] == ["rbac", "scheduler", "units", "annotations"]


def test_an_api_server_that_cannot_be_asked_is_the_only_finding() -> None:
    """With its own words."""
    assert wrong(FakeDoctorApi({})) == [("api server", Level.ERROR, "403 GET /api/v1/nodes: forbidden")]


def test_rights_that_lack() -> None:
    """Evictions only where they are turned on."""
    fake = api()
    fake.denied = (("patch", "nodes"), ("create", "pods/eviction"))
    assert wrong(fake) == [("rbac", Level.ERROR, "not allowed: patch nodes")]
    assert findings(fake, evicts=True)[0].found == "not allowed: patch nodes, create pods/eviction"
    fake.reviews = False
    assert [each.level for each in findings(fake)][:1] == [Level.WARNING]


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        (managing("gpu-mem", "gpu-core"), Level.ERROR, "managedResources lacks gpupack.io/gpu"),
        (managing("gpu-mem", "gpu"), Level.WARNING, "managedResources lacks gpupack.io/gpu-core"),
        ({"ignorable": True}, Level.ERROR, "ignorable is true"),
        ({"nodeCacheCapable": False}, Level.WARNING, "nodeCacheCapable is not true"),
        ({"bindVerb": ""}, Level.ERROR, "bindVerb is not set"),
        ({"percentageOfNodesToScore": 0}, Level.WARNING, "percentageOfNodesToScore is not 100"),
    ],
)
def test_scheduler_configurations(change: Mapping[str, Any], level: Level, words: str) -> None:
    """Each trap by its field."""
    (finding,) = wrong(api(maps=[scheduler(**change)]))
    assert finding == ("scheduler", level, f"configmap gpupack-system/sched, config.yaml: {words}")


def test_no_scheduler_configuration_is_a_warning_and_an_unreadable_one_a_note(tmp_path: Path) -> None:
    """A file is as good as a ConfigMap."""
    assert wrong(api(maps=[]))[0][1] is Level.NOTE
    fake = api(maps=[])
    fake.lists["/api/v1/namespaces/kube-system/configmaps"] = []
    assert [each[1:] for each in wrong(fake)] == [
        (Level.WARNING, "no KubeSchedulerConfiguration with an extender for gpupack.io/gpu-mem was found")
    ]
    facts = gather_cluster(fake, NAMES, namespaces=[], scheduler_files=[OVERLAY, tmp_path / "none.yaml"])
    assert list(facts.schedulers) == [str(OVERLAY)]
    assert list(configurations("KubeSchedulerConfiguration: [")) == []


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            [node("n1", inventory=inventory()), node("n2", inventory=inventory(256, "GPU-b"))],
            ("units", Level.ERROR, "nodes use different memory units: 256 MiB on n2; 1024 MiB on n1"),
        ),
        ([node()], ("inventory", Level.ERROR, "node n1 offers gpupack.io/gpu-mem but has no gpupack.io/inventory")),
        (
            [node(units=None, inventory=inventory())],
            ("inventory", Level.WARNING, "node n1 has gpupack.io/inventory but offers no gpupack.io/gpu-mem"),
        ),
        ([node(inventory="{")], ("inventory", Level.ERROR, "node n1: inventory: not JSON")),
        (
            [node(inventory=inventory(), cordon="GPU-z")],
            ("cordon", Level.WARNING, "node n1: cordoned GPU-z is not there"),
        ),
        ([node(inventory=inventory(), cordon="0")], ("cordon", Level.ERROR, "node n1: cordon: '0' is no GPU UUID")),
        ([node(inventory=inventory(), cordon="GPU-a")], ("cordon", Level.NOTE, "node n1: cordoned by hand: GPU-a")),
        ([], ("inventory", Level.WARNING, "no node has the annotation gpupack.io/inventory")),
    ],
)
def test_nodes(nodes: list[dict[str, Any]], expected: tuple[str, Level, str]) -> None:
    """Units, inventories and cordons."""
    found = [each for each in wrong(api(nodes)) if each[2].startswith(expected[2]) and each[:2] == expected[:2]]
    assert len(found) == 1, wrong(api(nodes))


@pytest.mark.parametrize(
    ("stray", "words"),
    [
        (pod(bound=False, allocation=placed()), "gpupack.io/allocation on a pod that is not bound: team/p"),
        (pod(asks=False, allocated=placed()), "gpupack.io/allocated on a pod that asks for no GPU: team/p"),
        (pod(allocation="[]"), "gpupack.io/allocation cannot be read"),
        (pod(allocation=placed(unit_mib=256)), "gpupack.io/allocation in units of 256 MiB: team/p"),
        (pod(allocated=placed("GPU-z")), "gpupack.io/allocated names GPUs that its node has not: team/p"),
    ],
)
def test_stray_annotations(stray: dict[str, Any], words: str) -> None:
    """Each by what is odd about it; pods that have ended do not matter."""
    (finding,) = wrong(api(pods=[stray]))
    assert (finding[0], finding[1], finding[2].startswith(words)) == ("annotations", Level.WARNING, True), finding
    assert wrong(api(pods=[{**stray, "status": {"phase": "Succeeded"}}])) == []


def test_many_pods_with_one_problem_are_one_finding() -> None:
    """The first five are named."""
    strays = [pod(f"p{number}", bound=False, allocation=placed()) for number in range(7)]
    (finding,) = wrong(api(pods=strays))
    assert finding[2].endswith("team/p0, team/p1, team/p2, team/p3, team/p4 and 2 more")
