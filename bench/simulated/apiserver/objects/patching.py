"""Applies merge patches and Kubernetes' strategic merge patches.

Sources: RFC 7396 (merge patch), and Kubernetes' strategic merge patch with the merge keys that
pods and nodes declare (`patchMergeKey` in k8s.io/api/core/v1/types.go); lists without one are replaced.
"""

from typing import Any

from bench.simulated.apiserver.objects.statuses import StatusError

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

_MERGE_KEYS = {
    "metadata.ownerReferences": "uid",
    "spec.containers": "name",
    "spec.initContainers": "name",
    "spec.ephemeralContainers": "name",
    "spec.volumes": "name",
    "spec.schedulingGates": "name",
    "status.conditions": "type",
    "status.addresses": "type",
    "status.podIPs": "ip",
}
_MERGED_SETS = {"metadata.finalizers"}


def apply_patch(kind: str, body: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Patch `body` (which is consumed) with `patch` of content type `kind`.

    Raises:
        ApiError: 415 for another content type, 400 or 422 for a patch that cannot be applied.
    """
    if not isinstance(patch, dict):
        raise StatusError(400, f"patch: expected an object, got {type(patch).__name__}")
    if kind == MERGE:
        return merge(body, patch)
    if kind == STRATEGIC:
        return _strategic(body, patch, "")
    raise StatusError(
        415, f"the body of the request was in an unknown format - accepted media types: {MERGE}, {STRATEGIC}"
    )


def merge(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396: null removes, objects merge, everything else replaces."""
    result = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merge(result.get(key), value)
        else:
            result[key] = value
    return result


def _strategic(target: Any, patch: dict[str, Any], path: str) -> dict[str, Any]:
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            _directive(result, key, value)
            continue
        where = f"{path}.{key}" if path else key
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _strategic(result.get(key), value, where)
        elif isinstance(value, list) and where in _MERGE_KEYS:
            result[key] = _merge_list(result.get(key) or [], value, _MERGE_KEYS[where])
        elif isinstance(value, list) and where in _MERGED_SETS:
            result[key] = list(dict.fromkeys([*(result.get(key) or []), *value]))
        else:
            result[key] = value
    return result


def _directive(result: dict[str, Any], key: str, value: Any) -> None:
    """`$deleteFromPrimitiveList/<field>` removes entries; `$setElementOrder` and `$retainKeys` only order them."""
    name, _, field = key.partition("/")
    if name == "$deleteFromPrimitiveList" and isinstance(value, list):
        result[field] = [entry for entry in result.get(field) or [] if entry not in value]


def _merge_list(held: list[Any], patch: list[Any], merge_key: str) -> list[Any]:
    if any(isinstance(entry, dict) and entry.get("$patch") == "replace" for entry in patch):
        return [entry for entry in patch if entry.get("$patch") != "replace"]
    by_key = {old.get(merge_key): old for old in held}
    touched: list[Any] = []
    for entry in patch:
        if not isinstance(entry, dict) or merge_key not in entry:
            raise StatusError(422, f"strategic merge patch: list entry {entry!r} has no merge key {merge_key!r}")
        old = by_key.pop(entry[merge_key], None)
        if entry.get("$patch") != "delete":
            touched.append(entry if old is None else _strategic(old, entry, ""))
    return _in_order(list(by_key.values()), touched, [old.get(merge_key) for old in held], merge_key)


def _in_order(kept: list[Any], touched: list[Any], before: list[Any], merge_key: str) -> list[Any]:
    """Entries that the patch left alone and those it names, in their order of before; new ones come first."""
    result = []
    while kept and touched:
        name = touched[0][merge_key]
        place = before.index(name) if name in before else -1
        result.append(kept.pop(0) if before.index(kept[0].get(merge_key)) < place else touched.pop(0))
    return [*result, *kept, *touched]
