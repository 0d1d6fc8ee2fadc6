"""From a policy's name to the policy."""

from collections.abc import Mapping

from extender.scheduling.models import RequestError
from extender.scheduling.policies.binpack import Binpack
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.spread import Spread

POLICIES: Mapping[str, Policy] = {policy.name: policy for policy in (Binpack(), Spread())}
DEFAULT_POLICY = "binpack"


def policy_named(name: str) -> Policy:
    """The policy called `name`.

    Raises:
        RequestError: there is none.
    """
    policy = POLICIES.get(name)
    if policy is None:
        raise RequestError(f"policy {name!r}: expected one of {', '.join(POLICIES)}")
    return policy
