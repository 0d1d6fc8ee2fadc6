"""The doctor finds what is planted in a cluster, says what to do about it, and calls a healthy one healthy."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.simulated.client import ClusterClient
from bench.simulated.specs import GpuSpec, MachineSpec
from extender.contract.findings import Finding, Level
from extender.contract.names import Names
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.commands.doctor import findings_answer
from extender.kubectl.doctoring.checks import check
from extender.kubectl.doctoring.facts import EXTENDER_RIGHTS, PLUGIN_RIGHTS, DoctorFacts, configurations
from extender.kubectl.options import Output
from extender.kubectl.output.gpu_rows import GPU_LABELS
from extender.kubectl.output.writing import written
from tests.extender.kubectl.conftest import Run
from tests.extender.kubectl.views import component, offering, on, refused, view
from tests.extender.objects import Json, node, pod, uuid

MANIFESTS = Path(__file__).parents[4] / "manifests"


def healthy(name: str = "n1", *units: int) -> Json:
    """A node that is ready and whose kubelet offers what its inventory has."""
    body = node(name, *(units or (16,)))
    body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return body


def plugin(node_name: str = "n1", *, ready: bool = True) -> Json:
    """The device plugin there."""
    return component(f"plugin-{node_name}", "device-plugin", node=node_name, ready=ready)


def scheduler() -> dict[str, Any]:
    """The configuration that is shipped."""
    file = MANIFESTS / "overlays" / "second-scheduler" / "scheduler-config.yaml"
    (config,) = configurations(file.read_text(encoding="utf-8"))
    return dict(config)


def found(seen: ClusterView, **facts: Any) -> list[Finding]:
    """What is not well."""
    every = check(DoctorFacts(seen, **{"schedulers": {"configmap": scheduler()}, **facts}))
    return [finding for finding in every if finding.level in (Level.WARNING, Level.ERROR)]


def one(seen: ClusterView, **facts: Any) -> tuple[str, str, str]:
    """The only thing that is not well: check, level and what was found; there is something to do about it."""
    (finding,) = found(seen, **facts)
    assert finding.advice
    return finding.check, finding.level.value, finding.found


def test_a_healthy_cluster_has_no_findings() -> None:
    """Errors and warnings, that is; each part is called well."""
    extender = component("scheduler", "scheduler", node="control")
    seen = view([healthy(), node("control")], [plugin(), extender, on("p", 8, uuid("n1", 0), "n1")])
    facts = DoctorFacts(
        seen,
        {"configmap": scheduler()},
        denied={"system:serviceaccount:gpupack-system:gpupack-device-plugin": ()},
        extender_health={"gpupack-system/scheduler": ""},
    )
    assert [(each.check, each.level) for each in check(facts)] == [
        ("rbac", Level.OK),
        ("extender", Level.OK),
        ("scheduler", Level.OK),
        ("units", Level.OK),
        ("plugin", Level.OK),
        ("gpus", Level.OK),
        ("annotations", Level.OK),
    ]


DIFFER = "the kubelet offers another number of units than the inventory has"
ODD = "annotation gpupack.io/gpu-count is 'two', expected a number of GPUs"
SCHEDULER = component("scheduler", "scheduler", node="control")
ASKED_FOR = [{"name": "extender", "args": ["--listen=127.0.0.1:39999", "--scheduler-name=gpupack-scheduler"]}]
OURS = component("named", "scheduler", node="control", containers=ASKED_FOR)
NOT_KNOWN = "is not known to gpupack; did you mean the resource gpupack.io/gpu-mem in the limits of a container?"


@pytest.mark.parametrize(
    ("nodes", "pods", "expected"),
    [
        (
            [
                healthy(),
                {**healthy("n2"), "metadata": {**healthy("n2")["metadata"], "labels": {"gpupack.io/gpu": "true"}}},
            ],
            [plugin()],
            ("plugin", "error", "nodes labelled as having GPUs, but without a device plugin pod: n2"),
        ),
        (
            [healthy(), healthy("n2")],
            [plugin()],
            ("plugin", "warning", "inventories that no device plugin pod keeps up to date: n2"),
        ),
        (
            [healthy()],
            [plugin(ready=False)],
            ("plugin", "error", "node n1: device plugin gpupack-system/plugin-n1 is running but not ready"),
        ),
        (
            [offering(healthy("n1", 16, 16), 16)],
            [plugin()],
            (
                "inventory",
                "warning",
                f"{DIFFER}: n1 (16 offered, 32 in the inventory)",
            ),
        ),
        ([node("n1", 16)], [plugin()], ("inventory", "warning", "nodes with GPUs that are not ready: n1")),
        (
            [healthy()],
            [plugin(), on("a", 12, uuid("n1", 0), "n1"), on("b", 6, uuid("n1", 0), "n1")],
            ("gpus", "error", "more memory is allocated than there is: n1/0 (by 2Gi)"),
        ),
        (
            [{**healthy(), "metadata": {**node("n1", 16, annotations={"cordon": uuid("n1", 0)})["metadata"]}}],
            [plugin()],
            ("cordon", "warning", "cordoned but still on offer: n1/0"),
        ),
        (
            [healthy()],
            [plugin(), pod("by-hand", 4, node="n1")],
            ("pods", "warning", "bound without a readable allocation: default/by-hand"),
        ),
        (
            [healthy()],
            [plugin(), OURS, pod("past", 4, node="n1", schedulerName="default-scheduler")],
            ("pods", "warning", "scheduled past gpupack, by default-scheduler: default/past"),
        ),
        (
            [healthy()],
            [
                plugin(),
                OURS,
                pod("waits", 4, schedulerName="default-scheduler"),
                pod("other", 4, schedulerName="volcano"),
            ],
            ("pods", "warning", "wait to be scheduled past gpupack, by default-scheduler: default/waits"),
        ),
        (
            [healthy()],
            [plugin(), *(pod(name, annotations={"gpu-mem": "8"}) for name in ("a", "b"))],
            ("names", "warning", f"default/a, default/b: annotation gpupack.io/gpu-mem {NOT_KNOWN}"),
        ),
        (
            [{**healthy(), "metadata": node("n1", 16, annotations={"cordons": "GPU-n1-0"})["metadata"]}],
            [plugin()],
            (
                "names",
                "warning",
                "n1: annotation gpupack.io/cordons is not known to gpupack; did you mean gpupack.io/cordon?",
            ),
        ),
        (
            [healthy()],
            [plugin(), refused(pod("waits", 4), "connection refused", "SchedulerError")],
            ("pods", "error", "waiting because of an error: default/waits (connection refused)"),
        ),
        (
            [healthy()],
            [plugin(), pod("odd", 4, annotations={"gpu-count": "two"})],
            (
                "pods",
                "warning",
                f"with an invalid GPU request: default/odd ({ODD})",
            ),
        ),
    ],
)
def test_what_is_planted_is_found_alone(nodes: list[Json], pods: list[Json], expected: tuple[str, str, str]) -> None:
    """With its level, and with something to do about it."""
    assert one(view([*nodes, node("control")], [SCHEDULER, *pods])) == expected


def test_an_unhealthy_gpu_is_named_with_its_reason() -> None:
    """A cordoned one is none."""
    body = node("n1", 16, 16, unhealthy={uuid("n1", 0), uuid("n1", 1)}, annotations={"cordon": uuid("n1", 1)})
    seen = view([body, node("control")], [SCHEDULER, plugin()])
    assert ("gpus", "unhealthy: n1/0 (no reason given)") in [(each.check, each.found) for each in found(seen)]


def test_units_that_differ_are_found() -> None:
    """An extender counts in one."""
    other = healthy("n2")
    text = other["metadata"]["annotations"]["gpupack.io/inventory"].replace('"unitMib":1024', '"unitMib":512')
    other["metadata"]["annotations"]["gpupack.io/inventory"] = text
    seen = view([healthy(), offering(other, 32), node("control")], [SCHEDULER, plugin(), plugin("n2")])
    assert ("units", "error") in [(each.check, each.level.value) for each in found(seen)]


def test_extenders() -> None:
    """None at all, one that is not ready, one that cannot be asked, and the one of --extender."""
    nodes = [healthy(), node("control")]
    assert one(view(nodes, [plugin()]))[:2] == ("extender", "warning")
    waits = component("scheduler", "scheduler", node="control", ready=False)
    assert one(view(nodes, [plugin(), waits]))[:2] == ("extender", "error")
    standby = view(nodes, [plugin(), waits, component("other", "scheduler", node="control")])
    assert one(standby)[:2] == ("extender", "warning")
    seen = view(nodes, [plugin(), SCHEDULER])
    lost = {"gpupack-system/scheduler": "503 : the scheduler extender has lost touch with the API server"}
    assert one(seen, extender_health=lost)[1:] == ("warning", f"pod {next(iter(lost))}: {next(iter(lost.values()))}")
    assert one(seen, asked_problem="extender URL: refused") == ("extender", "error", "extender URL: refused")
    assert one(seen, asked_extender={"unitMib": 256})[:2] == ("extender", "error")
    assert found(seen, asked_extender={"unitMib": 1024}) == []


def test_rights_that_are_missing() -> None:
    """Of which account, and which."""
    seen = view([healthy(), node("control")], [plugin(), SCHEDULER])
    account = "system:serviceaccount:gpupack-system:gpupack-scheduler"
    finding = one(seen, denied={account: (("create", "pods/binding"),)})
    assert finding == ("rbac", "error", f"{account} is not allowed: create pods/binding")


@pytest.mark.parametrize(
    ("file", "needed"), [("device-plugin-rbac.yaml", PLUGIN_RIGHTS), ("extender-rbac.yaml", EXTENDER_RIGHTS)]
)
def test_the_rights_that_are_looked_for_are_those_that_the_manifests_give(
    file: str, needed: tuple[tuple[str, str], ...]
) -> None:
    """Neither more nor fewer."""
    documents = yaml.safe_load_all((MANIFESTS / "base" / file).read_text(encoding="utf-8"))
    (role,) = [each for each in documents if each["kind"] == "ClusterRole"]
    given = {
        (verb, f"{resource}.{group}".rstrip("."))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert set(needed) == given


def test_the_labels_of_gpu_nodes_are_those_of_the_daemonset() -> None:
    """Where it runs is where it is missed."""
    daemonset = yaml.safe_load((MANIFESTS / "base" / "device-plugin.yaml").read_text(encoding="utf-8"))
    affinity = daemonset["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    labels = {
        term["matchExpressions"][0]["key"]: (term["matchExpressions"][0].get("values") or [None])[0] for term in terms
    }
    assert labels == {"gpupack.io/gpu": "true", **GPU_LABELS}


def test_findings_are_written_with_what_to_do_below() -> None:
    """And counted; an error is a no."""
    answer = findings_answer(
        [Finding("units", Level.OK, "one unit"), Finding("annotations", Level.ERROR, "broken", "mend it")]
    )
    assert written(answer, Output.TABLE, colour=False) == (
        "ok       units        one unit\n"
        "ERROR    annotations  broken\n"
        "                      -> mend it\n"
        "\n"
        "1 error, 0 warnings\n"
    )
    assert answer.exit_code == 1
    assert findings_answer([Finding("units", Level.WARNING, "hm")]).exit_code == 0


def test_as_it_is_typed(client: ClusterClient, kubectl: Run, tmp_path: Path) -> None:
    """On a cluster without gpupack it warns; a configuration in a file is read; a broken inventory is an error."""
    client.create_node(MachineSpec("n1", (GpuSpec("Tesla T4", 15360),)).hollow_node_object(Names()))
    file = tmp_path / "scheduler.yaml"
    file.write_text(yaml.safe_dump({**scheduler(), "percentageOfNodesToScore": 50}))
    result = kubectl("doctor", "--scheduler-config", str(file))
    assert result.exit_code == 0
    assert f"{file}: percentageOfNodesToScore is not 100" in result.stdout
    client.patch_node("n1", {"metadata": {"annotations": {"gpupack.io/inventory": "{"}}})
    result = kubectl("doctor", "-o", "json")
    assert result.exit_code == 1
    assert [each["check"] for each in json.loads(result.stdout) if each["level"] == "error"] == ["inventory"]
