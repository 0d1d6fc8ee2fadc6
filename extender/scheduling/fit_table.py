"""Remembers, per kind of request and node, what `fit` said, for as long as that node does not change.

NodeInfo values are replaced at every change, never modified, so an answer is valid exactly while the node is the same
object: there is nothing to invalidate.
"""

from collections import OrderedDict

from extender.scheduling.fitting import Fit, fit
from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Policy
from extender.scheduling.reasons import Misfit
from extender.scheduling.request import PodRequest

_Key = tuple[PodRequest, Policy]


class Answers:
    """What one kind of request gets on each node under one policy."""

    __slots__ = ("_known", "_policy", "_request")

    def __init__(self, request: PodRequest, policy: Policy) -> None:
        self._request = request
        self._policy = policy
        self._known: dict[str, tuple[NodeInfo, Fit | Misfit]] = {}

    def get(self, node: NodeInfo) -> Fit | Misfit:
        """The answer for `node` as it is now."""
        known = self._known.get(node.record.name)
        if known is not None and known[0] is node:
            return known[1]
        answer = fit(node, self._request, self._policy)
        self._known[node.record.name] = (node, answer)
        return answer

    def prune(self, names: set[str]) -> None:
        """Drop what is known of nodes that are not in `names`."""
        self._known = {name: known for name, known in self._known.items() if name in names}


class FitTable:
    """Answers of the `kinds` most recently asked kinds of request.

    A policy must be hashable, and equal only to its like: one with other weights is another policy.
    """

    def __init__(self, kinds: int = 32) -> None:
        if kinds < 1:
            raise ValueError(f"kinds is {kinds}, expected at least 1")
        self._kinds = kinds
        self._answers: OrderedDict[_Key, Answers] = OrderedDict()

    def answers(self, request: PodRequest, policy: Policy) -> Answers:
        """The answers for this kind of request, empty at first."""
        key = (request, policy)
        answers = self._answers.get(key)
        if answers is None:
            answers = self._answers[key] = Answers(request, policy)
            if len(self._answers) > self._kinds:
                self._answers.popitem(last=False)
        else:
            self._answers.move_to_end(key)
        return answers

    def prune(self, names: set[str]) -> None:
        """Drop what is known of nodes that are gone."""
        for answers in self._answers.values():
            answers.prune(names)
