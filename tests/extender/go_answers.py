"""The extender's answers as kube-scheduler's Go decoder reads them, and stricter: an unknown key is an error.

Source: k8s.io/kube-scheduler/extender/v1/types.go. Whole nodes stay bytes.
"""

from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class _Go(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """Go's exported fields without json tags."""


class NodeList(msgspec.Struct, forbid_unknown_fields=True):
    """core/v1 NodeList."""

    items: list[msgspec.Raw]


class FilterResult(_Go):
    """ExtenderFilterResult."""

    nodes: NodeList | None = None
    node_names: list[str] | None = None
    failed_nodes: dict[str, str] | None = None
    failed_and_unresolvable_nodes: dict[str, str] | None = None
    error: str = ""


class HostPriority(_Go):
    """One entry of a HostPriorityList."""

    host: str
    score: int


class BindingResult(_Go):
    """ExtenderBindingResult."""

    error: str


class MetaPod(msgspec.Struct, forbid_unknown_fields=True):
    """MetaPod."""

    uid: str = msgspec.field(name="UID")


class MetaVictims(msgspec.Struct, forbid_unknown_fields=True):
    """MetaVictims."""

    pods: list[MetaPod] = msgspec.field(name="Pods")
    violations: int = msgspec.field(name="NumPDBViolations")


class PreemptionResult(_Go):
    """ExtenderPreemptionResult."""

    node_name_to_meta_victims: dict[str, MetaVictims]


def read(body: bytes, kind: type[_T]) -> _T:
    """Decode one answer.

    Raises:
        msgspec.ValidationError: another key or type than kube-scheduler reads.
    """
    return msgspec.json.decode(body, type=kind)
