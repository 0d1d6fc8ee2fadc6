"""A verdict is `fit`'s answer, its sentences stand in one place, and of several reasons the nearest is told."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from extender.capacity.eligibility import HostMisfit
from extender.contract.refusals import NotReady
from extender.scheduling.fitting.fitting import fit
from extender.scheduling.fitting.judging import judge, nearest
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.policies.table import DEFAULT_POLICY, policy_named
from tests.extender.cluster import Cluster
from tests.extender.objects import node, pod, uuid

ROOT = Path(__file__).parents[4]
POLICY = policy_named(DEFAULT_POLICY)


def literals(folder: str) -> Iterator[tuple[str, str]]:
    """Every string constant of a package, parts of f-strings included, with its module."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for found in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(found, ast.Constant) and isinstance(found.value, str):
                yield str(file.relative_to(ROOT)), found.value


@pytest.mark.parametrize(
    ("reasons", "home"),
    [
        (Misfit, "extender/scheduling/fitting/reasons.py"),
        (HostMisfit, "extender/capacity/eligibility.py"),
        (NotReady, "extender/contract/refusals.py"),
    ],
)
def test_each_sentence_stands_in_one_module(reasons: type[Misfit | HostMisfit | NotReady], home: str) -> None:
    """Every other module takes it from there."""
    found = {
        (module, reason.name)
        for package in ("extender", "device_plugin", "bench")
        for module, text in literals(package)
        for reason in reasons
        if reason.text in text
    }
    assert found == {(home, reason.name) for reason in reasons}


def test_a_verdict_is_the_answer_of_fit() -> None:
    """With what fits, or with why not."""
    cluster = Cluster(node("a", 16))
    info = cluster.state.snapshot().nodes["a"]
    for units in (8, 20):
        request = cluster.record(pod("train", units)).request
        assert request is not None
        verdict = judge(info, request, POLICY)
        assert (verdict.fit or verdict.misfit) == fit(info, request, POLICY)
        assert (verdict.fit is None) == (verdict.misfit is not None)


def test_each_gpu_has_a_reason_of_its_own() -> None:
    """In the order of the node's GPUs."""
    cluster = Cluster(node("a", 16, 16, 16, unhealthy={uuid("a", 1)}))
    cluster.show_bound("other", 12, uuid("a", 2), "a")
    request = cluster.record(pod("train", 8)).request
    assert request is not None
    assert judge(cluster.state.snapshot().nodes["a"], request, POLICY).gpu_reasons(cluster.state.unit_mib) == [
        "",
        "unhealthy",
        "4Gi of 16Gi free; 8Gi needed",
    ]


def test_the_reason_where_least_is_missing_is_the_nearest() -> None:
    """Every reason has a place in the order; nodes without GPUs come last."""
    assert nearest([Misfit.NO_INVENTORY, Misfit.NO_INVENTORY, Misfit.TOO_LARGE, Misfit.FULL]) is Misfit.FULL
    assert nearest([Misfit.NO_INVENTORY, Misfit.NO_PLUGIN]) is Misfit.NO_PLUGIN
    assert nearest([Misfit.NO_MODEL, Misfit.TOO_FEW_GPUS]) is Misfit.TOO_FEW_GPUS
    assert nearest([Misfit.NO_MODEL, Misfit.TOO_LARGE]) is Misfit.TOO_LARGE
    assert {nearest([reason]) for reason in Misfit} == set(Misfit)
    assert nearest([]) is None
