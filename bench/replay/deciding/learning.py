"""Gives a policy what it may know in a replay: the whole pod list, or what has arrived so far."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from extender.scheduling.learning.estimating import DemandCounter, differs, estimate
from extender.scheduling.learning.weights import Weights
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import policies_with, policy_named

ONLINE, LIST, NEVER = "online", "list", "never"
ESTIMATES: dict[str, str] = {
    # FGD as published knows the whole list; the project's own policies learn as they do in a cluster.
    "fgd": LIST,
    "price-fit": ONLINE,
    "price-fit-robust": ONLINE,
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy and how it comes to know the demand; written `fgd`, `price-fit@list`, `price-fit@online`."""

    label: str
    policy: str
    estimate: str

    @property
    def exclusive(self) -> bool:
        """Whether shares become whole GPUs before they are placed."""
        return self.policy == "exclusive"


def parse_contender(text: str) -> Contender:
    """Read a contender.

    Raises:
        RequestError: no such policy.
        ValueError: no such way to estimate.
    """
    name, at, estimate_ = text.strip().partition("@")
    policy_named(name)
    usual = ESTIMATES.get(name, NEVER)
    if at and (estimate_ not in (ONLINE, LIST) or usual == NEVER):
        raise ValueError(f"policy {text!r}: expected a name, or a learned policy with @online or @list")
    return Contender(text.strip(), name, estimate_ or usual)


class Learner:
    """Follows the arrivals and gives the policy value that holds from now on."""

    def __init__(self, contender: Contender, records: Iterable[NodeRecord], whole_list: Iterable[PodRequest]) -> None:
        self._contender = contender
        self._shapes = Counter(record.shape for record in records)
        self._counter = DemandCounter()
        self._weights = estimate(Counter(whole_list) if contender.estimate == LIST else {}, self._shapes)
        self.adopted = 1

    @property
    def policy(self) -> Policy:
        """The policy with what is known now."""
        return _policy(self._contender.policy, self._weights)

    def observe(self, request: PodRequest) -> Policy | None:
        """Take in an arrival; returns another policy value when the estimate has changed enough.

        Pods that ask for no GPU do not count, as the extender does not count them.
        """
        if self._contender.estimate != ONLINE or not request.demands or not self._counter.observe(request):
            return None
        learned = estimate(self._counter.counts(), self._shapes)
        if not differs(self._weights, learned):
            return None
        self._weights = learned
        self.adopted += 1
        return self.policy


def _policy(name: str, weights: Weights) -> Policy:
    return policy_named(name, policies_with(weights))
