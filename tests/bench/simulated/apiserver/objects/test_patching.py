"""Patches change objects as the three patch types say."""

from typing import Any

import pytest

from bench.simulated.apiserver.objects.patching import JSON_PATCH, MERGE, STRATEGIC, apply_patch
from bench.simulated.apiserver.objects.statuses import ApiError


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


def test_json_patch_applies_operations_in_order() -> None:
    """RFC 6902 with escaped slashes in keys."""
    operations = [
        {"op": "test", "path": "/metadata/annotations/a", "value": "1"},
        {"op": "add", "path": "/metadata/annotations/x.io~1y", "value": "z"},
        {"op": "remove", "path": "/metadata/annotations/b"},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "y"},
        {"op": "replace", "path": "/status/conditions/0/status", "value": "True"},
    ]
    patched = apply_patch(JSON_PATCH, _pod(), operations)
    assert patched["metadata"] == {"annotations": {"a": "1", "x.io/y": "z"}, "finalizers": ["x", "y"]}
    assert patched["status"]["conditions"][0]["status"] == "True"


@pytest.mark.parametrize(
    ("kind", "patch", "code"),
    [
        ("application/apply-patch+yaml", {}, 415),
        (MERGE, [], 400),
        (JSON_PATCH, {}, 400),
        (JSON_PATCH, [{"op": "test", "path": "/metadata/annotations/a", "value": "9"}], 422),
        (JSON_PATCH, [{"op": "remove", "path": "/metadata/annotations/none"}], 422),
        (JSON_PATCH, [{"op": "add", "path": "/nowhere/x", "value": 1}], 422),
        (STRATEGIC, {"status": {"conditions": [{"status": "True"}]}}, 422),
    ],
)
def test_a_patch_that_cannot_be_applied_is_refused(kind: str, patch: object, code: int) -> None:
    """Nothing is half applied silently: the client gets the code."""
    with pytest.raises(ApiError) as caught:
        apply_patch(kind, _pod(), patch)
    assert caught.value.code == code
