"""Patches change objects as the two patch types say."""

from typing import Any

import pytest

from bench.simulated.apiserver.objects.patching import MERGE, STRATEGIC, apply_patch
from bench.simulated.apiserver.objects.statuses import StatusError


def _pod() -> dict[str, Any]:
    return {
        "metadata": {"annotations": {"a": "1", "b": "2"}, "finalizers": ["x"]},
        "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]},
    }


def test_merge_patch_replaces_lists_and_removes_nulls() -> None:
    """RFC 7396."""
    patch = {"metadata": {"annotations": {"a": None, "c": "3"}}, "status": {"conditions": [{"type": "New"}]}}
    assert apply_patch(MERGE, _pod(), patch) == {
        "metadata": {"annotations": {"b": "2", "c": "3"}, "finalizers": ["x"]},
        "status": {"conditions": [{"type": "New"}]},
    }


def test_strategic_patch_merges_conditions_by_type() -> None:
    """Lists with a merge key keep their other entries."""
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "New", "status": "True"}]}}
    assert apply_patch(STRATEGIC, _pod(), patch)["status"]["conditions"] == [
        {"type": "Ready", "status": "True"},
        {"type": "New", "status": "True"},
        {"type": "Other", "status": "True"},
    ]


def test_strategic_patch_understands_directives() -> None:
    """Delete by key, delete from a list of plain values, union of finalizers."""
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["y"]},
        "status": {"conditions": [{"type": "Ready", "$patch": "delete"}]},
    }
    assert apply_patch(STRATEGIC, _pod(), patch) == {
        "metadata": {"annotations": {"a": "1", "b": "2"}, "finalizers": ["y"]},
        "status": {"conditions": [{"type": "Other", "status": "True"}]},
    }


@pytest.mark.parametrize(
    ("kind", "patch", "code"),
    [
        ("application/apply-patch+yaml", {}, 415),
        (MERGE, [], 400),
        (STRATEGIC, {"status": {"conditions": [{"status": "True"}]}}, 422),
    ],
)
def test_a_patch_that_cannot_be_applied_is_refused(kind: str, patch: object, code: int) -> None:
    """Nothing is half applied silently: the client gets the code."""
    with pytest.raises(StatusError) as caught:
        apply_patch(kind, _pod(), patch)
    assert caught.value.code == code
