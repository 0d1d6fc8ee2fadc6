"""The doctor finds what is odd about inventories, cordons, units, and annotations of pods."""

from typing import Any

import pytest

from extender.contract.findings import Finding, Level
from extender.kubectl.doctoring.node_checks import check_nodes
from extender.kubectl.doctoring.pod_checks import check_pods
from tests.extender.kubectl.views import offering, view
from tests.extender.objects import Json, allocation, mixed_node, node, pod, uuid


def bad(findings: list[Finding], check: str) -> list[tuple[Level, str]]:
    """What a check does not call well; each warning and error says what to do."""
    assert all(each.advice for each in findings if each.level in (Level.WARNING, Level.ERROR))
    return [(each.level, each.found) for each in findings if each.check == check and each.level is not Level.OK]


@pytest.mark.parametrize(
    ("nodes", "check", "expected"),
    [
        (
            [offering(node("n1"), 16)],
            "inventory",
            (Level.ERROR, "node n1 offers gpupack.io/gpu-mem but has no gpupack.io/inventory"),
        ),
        (
            [offering(node("n1", 16), None)],
            "inventory",
            (Level.WARNING, "node n1 has gpupack.io/inventory but offers no gpupack.io/gpu-mem"),
        ),
        ([node("n1")], "inventory", (Level.WARNING, "no node has the annotation gpupack.io/inventory")),
        (
            [node("n1", 16, annotations={"cordon": "GPU-z"})],
            "cordon",
            (Level.WARNING, "node n1: cordoned GPU-z is not there"),
        ),
        (
            [node("n1", 16, annotations={"cordon": "0"})],
            "cordon",
            (Level.ERROR, "node n1: cordon: '0' is no GPU UUID"),
        ),
    ],
)
def test_nodes(nodes: list[Json], check: str, expected: tuple[Level, str]) -> None:
    """Each by what is odd about it."""
    found = bad([*check_nodes(view(nodes))], check)
    assert [each for each in found if each[0] is expected[0] and each[1].startswith(expected[1])], found


def test_no_offer_of_unhealthy_gpus_is_no_fault_of_the_plugin() -> None:
    """It offers what is healthy."""
    ill = offering(node("n1", 16, unhealthy={uuid("n1", 0)}), 0)
    found = bad([*check_nodes(view([ill]))], "inventory")
    assert not any("offers no" in text for _, text in found)


def test_an_inventory_that_cannot_be_read_is_an_error() -> None:
    """In the words of the contract."""
    (finding,) = bad([*check_nodes(view([node("n1", annotations={"inventory": "{"})]))], "inventory")
    assert (finding[0], finding[1].startswith("node n1: inventory: not JSON")) == (Level.ERROR, True)


def test_a_cordon_by_hand_is_noted() -> None:
    """It is what somebody wanted."""
    cordoned = node("n1", 16, unhealthy={uuid("n1", 0)}, annotations={"cordon": uuid("n1", 0)})
    findings = [*check_nodes(view([cordoned]))]
    assert bad(findings, "cordon") == [(Level.NOTE, f"node n1: cordoned by hand: {uuid('n1', 0)}")]


def test_nodes_of_two_units_are_an_error() -> None:
    """With the nodes of each."""
    other = node("n2", 16)
    text = other["metadata"]["annotations"]["gpupack.io/inventory"].replace('"unitMib":1024', '"unitMib":256')
    other["metadata"]["annotations"]["gpupack.io/inventory"] = text
    assert bad([*check_nodes(view([node("n1", 16), other]))], "units") == [
        (Level.ERROR, "nodes use different memory units: 256 MiB on n2; 1024 MiB on n1")
    ]


def strays(*pods: Json) -> list[str]:
    """What is found of annotations."""
    findings = [*check_pods(view([node("n1", 16)], pods))]
    return [text for level, text in bad(findings, "annotations") if level is Level.WARNING]


PLACED = allocation({"main": {uuid("n1", 0): 8}})
OTHER_UNIT = PLACED.replace("1024", "256")


@pytest.mark.parametrize(
    ("stray", "words"),
    [
        ({"allocation": PLACED, "node": ""}, "gpupack.io/allocation on a pod that is not bound: default/p"),
        ({"allocated": PLACED, "units": 0}, "gpupack.io/allocated on a pod that asks for no GPU: default/p"),
        ({"allocation": "[]"}, "gpupack.io/allocation cannot be read"),
        ({"allocation": OTHER_UNIT}, "gpupack.io/allocation in units of 256 MiB: default/p"),
        (
            {"allocated": allocation({"main": {"GPU-z": 8}})},
            "gpupack.io/allocated names GPUs that its node does not have: default/p",
        ),
    ],
)
def test_stray_annotations(stray: dict[str, Any], words: str) -> None:
    """Each by what is odd about it; pods that have ended do not matter."""
    annotations = {key: text for key, text in stray.items() if key.startswith("allocat")}
    body = pod("p", stray.get("units", 8), node=stray.get("node", "n1"), annotations=annotations)
    (found,) = strays(body)
    assert found.startswith(words)
    assert strays({**body, "status": {"phase": "Succeeded"}}) == []


def test_a_good_pod_is_no_stray_and_an_emptied_report_neither() -> None:
    """The extender empties a forged report when it binds."""
    assert strays(pod("p", 8, node="n1", annotations={"allocation": PLACED, "allocated": ""})) == []


def test_many_pods_with_one_problem_are_one_finding() -> None:
    """The first five are named."""
    (found,) = strays(*(pod(f"p{at}", 8, annotations={"allocation": PLACED}, version=at + 1) for at in range(7)))
    assert found.endswith("default/p0, default/p1, default/p2, default/p3, default/p4 and 2 more")


def test_what_of_mig_devices_is_in_no_unit_is_noted() -> None:
    """Three quarters of a unit of each of three; with units of 256 MiB none of it."""
    seen = view([mixed_node("n1", ("1g.10gb",) * 3)])
    assert bad([*check_nodes(seen)], "units") == [(Level.NOTE, "2.25Gi of MIG devices is in no memory unit")]
    advice = [each.advice for each in check_nodes(seen) if each.level is Level.NOTE]
    assert advice == ["--memory-unit-mib=256 everywhere would offer 2.25Gi of it"]
    assert bad([*check_nodes(view([node("n1", 16)]))], "units") == []


def test_a_cordon_of_a_gpu_in_mig_devices_is_there() -> None:
    """Though the inventory has only its MIG devices."""
    seen = view([mixed_node("n1", cordon="GPU-n1-1,MIG-n1-1-0,MIG-z")])
    assert bad([*check_nodes(seen)], "cordon")[:2] == [
        (Level.WARNING, "node n1: cordoned MIG-z is not there"),
        (Level.NOTE, "node n1: cordoned by hand: GPU-n1-1, MIG-n1-1-0"),
    ]
