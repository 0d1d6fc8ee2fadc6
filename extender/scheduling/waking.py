"""Chooses the refused pods that are worth another try after nodes have gained room.

kube-scheduler retries a refused pod the moment another pod goes, which may be before the extender has seen it go; the
refusal that follows would last for minutes. Pods are chosen so that they fit together, the most important first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from extender.contract.units import UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.placing import footprint_of_choice
from extender.scheduling.nodes.node import Hold, Holder, NodeInfo, node_info, node_without
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy

_Kind = tuple[PodRequest, str, frozenset[str] | None, int]


@dataclass(frozen=True, slots=True)
class RefusedPod:
    """A pod that was refused, `waiting_since_s` on the caller's clock.

    `asked` are the nodes that kube-scheduler offered then, None for too many to remember: where a pod's own
    constraints leave few nodes, room on any other node is of no use to it, unless that node came after `generation`.
    """

    uid: str
    namespace: str
    name: str
    request: PodRequest
    policy: Policy
    priority: int
    waiting_since_s: float
    asked: frozenset[str] | None = None
    generation: int = 0

    def may_use(self, node: str, first_seen: int) -> bool:
        """Whether the pod may fit on a node that came in the generation `first_seen`."""
        return self.asked is None or node in self.asked or first_seen > self.generation


def worth_waking(
    refused: Iterable[RefusedPod],
    freed: Sequence[NodeInfo],
    *,
    limit: int,
    unit_mib: UnitMib,
    first_seen: Mapping[str, int] = MappingProxyType({}),
) -> list[RefusedPod]:
    """At most `limit` pods that fit on the `freed` nodes together, by priority, then by how long they have waited.

    As in filter, claims of less important pods give way. `first_seen` tells the generation in which a node came; 0
    where it does not.
    """
    nodes = {node.name: node for node in freed}
    claims = {holder.uid: node.name for node in freed if node.claims for holder in node.holders if _claims(holder)}
    refused = sorted(refused, key=lambda pod: (-pod.priority, pod.waiting_since_s, pod.uid))
    claimants = {pod.uid: pod.priority for pod in refused if pod.uid in claims}
    chosen: list[RefusedPod] = []
    # Room only shrinks here: what did not fit will not fit.
    hopeless: set[_Kind] = set()
    for pod in refused:
        if len(chosen) == limit or not nodes:
            break
        if pod.uid in claims:
            name = claims[pod.uid]
            taken = _place(pod, [node_without(nodes[name], {pod.uid}, unit_mib=unit_mib)], unit_mib)
            if taken is not None:
                nodes[name] = taken
                chosen.append(pod)
                continue
        kind = (pod.request, pod.policy.name, pod.asked, pod.generation if pod.asked else 0)
        taken = None
        if kind not in hopeless:
            usable = [node for node in nodes.values() if pod.may_use(node.name, first_seen.get(node.name, 0))]
            taken = _place(pod, usable, unit_mib) or _place_over_claims(pod, usable, claimants, unit_mib)
        if taken is None:
            hopeless.add(kind)
        else:
            nodes[taken.name] = taken
            chosen.append(pod)
    return chosen


def _claims(holder: Holder) -> bool:
    return holder.hold is Hold.CLAIMED


def _place_over_claims(
    pod: RefusedPod, nodes: Iterable[NodeInfo], claimants: Mapping[str, int], unit_mib: UnitMib
) -> NodeInfo | None:
    """The node with the pod on it, where claims of lower priority (`claimants`) on the same GPUs give way to it."""
    for node in nodes:
        lesser = [one for one in node.holders if _claims(one) and claimants.get(one.uid, pod.priority) < pod.priority]
        if not lesser:
            continue
        taken = _place(pod, [node_without(node, {one.uid for one in lesser}, unit_mib=unit_mib)], unit_mib)
        if taken is not None:
            gpus = next(_gpus_of(one) for one in taken.holders if one.uid == pod.uid)
            holders = (*taken.holders, *(one for one in lesser if gpus.isdisjoint(_gpus_of(one))))
            return node_info(node.record, holders, unit_mib=unit_mib, generation=node.generation, before=node)
    return None


def _gpus_of(holder: Holder) -> frozenset[str]:
    return holder.footprint.whole.union(holder.footprint.shares) if holder.footprint is not None else frozenset()


def _place(pod: RefusedPod, nodes: Iterable[NodeInfo], unit_mib: UnitMib) -> NodeInfo | None:
    for node in nodes:
        answer = fit(node, pod.request, pod.policy)
        if isinstance(answer, Fit):
            footprint = footprint_of_choice(node, pod.request, answer.chosen)
            holder = Holder(pod.uid, pod.namespace, pod.name, pod.request, footprint, hold=Hold.HELD)
            holders = (*node.holders, holder)
            return node_info(node.record, holders, unit_mib=unit_mib, generation=node.generation, before=node)
    return None
