"""Remembers, within a bound, the victims of each preempting pod until the memory that they free is seen."""

from collections import OrderedDict
from collections.abc import Mapping

from extender.contract.units import UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo, node_info
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.preemption import Victims

MAX_REMEMBERED = 1_024


class Evictions:
    """Answers to preempt by preempting pod; the owner serializes all calls."""

    def __init__(self, unit_mib: UnitMib) -> None:
        self._unit_mib = unit_mib
        self._answers: OrderedDict[str, Mapping[str, Victims]] = OrderedDict()

    def remember(self, uid: str, answers: Mapping[str, Victims]) -> None:
        """Remember what preempt has answered for the pod."""
        self._answers[uid] = answers
        self._answers.move_to_end(uid)
        if len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)

    def forget(self, uid: str) -> None:
        """The pod has a node, or is gone."""
        self._answers.pop(uid, None)

    def awaited(self, pod: PodRecord, request: PodRequest, policy: Policy, node: NodeInfo | None) -> bool:
        """Whether the pod would fit on `node`, where it is nominated, if its victims there were gone.

        False when they are gone: then nothing more is to be waited for.
        """
        victims = self._answers.get(pod.uid, {}).get(pod.nominated_node)
        if node is None or victims is None:
            return False
        left = [holder for holder in node.holders if holder.uid not in victims.uids]
        if len(left) == len(node.holders):
            return False
        emptier = node_info(node.record, left, unit_mib=self._unit_mib, before=node)
        return isinstance(fit(emptier, request, policy), Fit)
