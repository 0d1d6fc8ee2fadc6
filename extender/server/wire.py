"""Decodes kube-scheduler's extender calls and encodes the answers; Go's field names live here only.

Source: k8s.io/kube-scheduler/extender/v1/types.go. Go's decoder matches keys regardless of case and takes absent and
null alike; answers here carry only what kube-scheduler reads.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec

from extender.decoding.decoder import Decoder
from extender.kube.objects import UNREADABLE, DecodeError
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.victims import Victims

_Args = TypeVar("_Args")
_ObjectName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*\Z")]
"""What may stand in the path of an API call; the API server's own rules are stricter."""


class _NodeList(msgspec.Struct, gc=False):
    items: list[msgspec.Raw] | None = None


class _NodeName(msgspec.Struct, gc=False):
    name: str = ""


class _NodeWithName(msgspec.Struct, gc=False):
    metadata: _NodeName


class ExtenderArgs(
    msgspec.Struct, rename={"pod": "Pod", "nodes": "Nodes", "node_names": "NodeNames"}, gc=False, frozen=True
):
    """What filter and prioritize get: the pod's JSON and the nodes, by name (nodeCacheCapable) or whole."""

    pod: msgspec.Raw
    nodes: _NodeList | None = None
    node_names: list[str] | None = None

    def names(self) -> Collection[str]:
        """The nodes asked about.

        Raises:
            DecodeError: neither names nor nodes were sent.
        """
        if self.node_names is not None:
            return self.node_names
        if self.nodes is not None:
            return list(self.whole_nodes())
        raise DecodeError("NodeNames and Nodes are both absent, expected one of them")

    def whole_nodes(self) -> dict[str, msgspec.Raw]:
        """The Node objects that were sent, by name, as they came.

        Raises:
            DecodeError: one of them is not a Node.
        """
        items = self.nodes.items if self.nodes is not None else None
        try:
            return {_node_name.decode(item).metadata.name: item for item in items or ()}
        except UNREADABLE as error:
            raise DecodeError(f"Nodes: {error}") from error


class BindingArgs(
    msgspec.Struct,
    rename={"pod_name": "PodName", "pod_namespace": "PodNamespace", "pod_uid": "PodUID", "node": "Node"},
    gc=False,
):
    """What bind gets."""

    pod_name: _ObjectName
    pod_namespace: _ObjectName
    pod_uid: _ObjectName
    node: _ObjectName


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""


class _VictimPod(msgspec.Struct, gc=False):
    metadata: _Metadata


class _WholeVictims(msgspec.Struct, rename={"pods": "Pods", "violations": "NumPDBViolations"}, gc=False):
    pods: list[_VictimPod] | None = None
    violations: int = 0


class _Uid(msgspec.Struct, rename={"uid": "UID"}, gc=False):
    uid: str


class _MetaVictims(msgspec.Struct, rename={"pods": "Pods", "violations": "NumPDBViolations"}, gc=False):
    pods: list[_Uid] | None = None
    violations: int = 0


class PreemptionArgs(
    msgspec.Struct,
    rename={"pod": "Pod", "whole": "NodeNameToVictims", "meta": "NodeNameToMetaVictims"},
    gc=False,
):
    """What preempt gets: the pod's JSON, and per node the pods that kube-scheduler would evict, by UID or whole."""

    pod: msgspec.Raw
    whole: dict[str, _WholeVictims] | None = None
    meta: dict[str, _MetaVictims] | None = None

    def candidates(self) -> dict[str, Victims]:
        """Both forms as one."""
        if self.meta is not None:
            return {
                node: Victims(tuple(pod.uid for pod in victims.pods or ()), victims.violations)
                for node, victims in self.meta.items()
            }
        return {
            node: Victims(tuple(pod.metadata.uid for pod in victims.pods or ()), victims.violations)
            for node, victims in (self.whole or {}).items()
        }


_node_name = msgspec.json.Decoder(_NodeWithName)
_extender_args = msgspec.json.Decoder(ExtenderArgs)
_binding_args = msgspec.json.Decoder(BindingArgs)
_preemption_args = msgspec.json.Decoder(PreemptionArgs)
_encode = msgspec.json.Encoder().encode


def decode_extender_args(body: bytes) -> ExtenderArgs:
    """Read a filter or prioritize call.

    Raises:
        DecodeError: malformed; the message names the field.
    """
    return _decode(_extender_args, body, "ExtenderArgs")


def decode_binding_args(body: bytes) -> BindingArgs:
    """Read a bind call.

    Raises:
        DecodeError: malformed; the message names the field.
    """
    return _decode(_binding_args, body, "ExtenderBindingArgs")


def decode_preemption_args(body: bytes) -> PreemptionArgs:
    """Read a preempt call.

    Raises:
        DecodeError: malformed; the message names the field.
    """
    return _decode(_preemption_args, body, "ExtenderPreemptionArgs")


class CalledPods:
    """Decodes the pods of calls and keeps the last: prioritize asks about the pod of the filter call before."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._last: tuple[bytes, PodRecord] | None = None

    def record(self, pod: msgspec.Raw) -> PodRecord:
        """The record of a call's pod.

        Raises:
            DecodeError: malformed; the message names the field.
        """
        text, last = bytes(pod), self._last
        if last is not None and last[0] == text:
            return last[1]
        record = self._decoder.pod(text)
        self._last = (text, record)
        return record


def _decode(decoder: msgspec.json.Decoder[_Args], body: bytes, what: str) -> _Args:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise DecodeError(f"{what}: {error}") from error


def encode_feasible(args: ExtenderArgs, names: Sequence[str]) -> bytes:
    """A filter answer with the nodes that fit, in the form in which they were asked about."""
    if args.node_names is None:
        whole = args.whole_nodes()
        return _encode({"Nodes": {"items": [whole[name] for name in names]}, "NodeNames": None, "Error": ""})
    return _encode({"NodeNames": names, "Error": ""})


def encode_infeasible(args: ExtenderArgs, reasons: Mapping[str, str], leaving: Collection[str] = frozenset()) -> bytes:
    """A filter answer without any node, with each node's reason.

    All nodes are called unresolvable: kube-scheduler would look for pods to evict on any other node, evict none because
    the node's total has room, and retry at once, forever. But not a node that evicted pods are `leaving`: were that
    unresolvable, kube-scheduler would evict others elsewhere instead of waiting (PodEligibleToPreemptOthers in
    pkg/scheduler/framework/plugins/defaultpreemption).
    """
    answer: dict[str, object] = {"NodeNames": []} if args.node_names is not None else {"Nodes": {"items": []}}
    if leaving:
        answer["FailedNodes"] = {name: reasons[name] for name in leaving}
        reasons = {name: text for name, text in reasons.items() if name not in leaving}
    return _encode({**answer, "FailedAndUnresolvableNodes": reasons, "Error": ""})


def encode_filter_error(message: str) -> bytes:
    """A filter answer that makes kube-scheduler try again later, with this text in the pod's events."""
    return _encode({"Error": message})


def encode_scores(scores: Sequence[tuple[str, int]]) -> bytes:
    """A prioritize answer."""
    return _encode([{"Host": name, "Score": score} for name, score in scores])


def encode_bind_answer(error: str) -> bytes:
    """A bind answer; an empty text means that the pod is bound."""
    return _encode({"Error": error})


def encode_victims(answers: Mapping[str, Victims]) -> bytes:
    """A preempt answer; kube-scheduler always takes victims by UID."""
    return _encode(
        {
            "NodeNameToMetaVictims": {
                node: {
                    "Pods": [{"UID": uid} for uid in victims.uids],
                    "NumPDBViolations": victims.pdb_violations,
                }
                for node, victims in answers.items()
            }
        }
    )
