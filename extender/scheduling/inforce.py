"""The policies in force with all that was computed under them, and the step-by-step change to policies that learned."""

from collections.abc import Mapping

from extender.scheduling.alike import Changing
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES, policies_with
from extender.scheduling.rankings import Rankings
from extender.scheduling.weights import Weights


class InForce:
    """`policies` by name, and the `rankings` of their answers; its owner serializes all calls."""

    def __init__(self, policies: Mapping[str, Policy] = POLICIES, rankings: Rankings | None = None) -> None:
        self.policies = policies
        self.rankings = rankings if rankings is not None else Rankings()

    def under(self, weights: Weights) -> "InForce":
        """The policies as they are with these weights; for the kinds of request known here, nothing is computed yet."""
        policies = policies_with(weights)
        return InForce(policies, self.rankings.under(policies))

    def prepare(self, cluster: Changing, most: int) -> bool:
        """Compute at most `most` answers of those that are due; whether all are there now."""
        return self.rankings.prepare(cluster, most)
