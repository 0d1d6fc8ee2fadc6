"""Looks policies up by name, with what is known of the cluster."""

from collections.abc import Callable, Mapping

from extender.scheduling.learning.weights import UNLEARNED, Weights
from extender.scheduling.pods.models import RequestError
from extender.scheduling.policies.best_fit import BestFit
from extender.scheduling.policies.binpack import Binpack
from extender.scheduling.policies.dot_product import DotProduct
from extender.scheduling.policies.exclusive import Exclusive
from extender.scheduling.policies.fgd import Fgd
from extender.scheduling.policies.first_fit import FirstFit
from extender.scheduling.policies.gpu_clustering import GpuClustering
from extender.scheduling.policies.gpu_packing import GpuPacking
from extender.scheduling.policies.gpushare import Gpushare
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.price_fit import PriceFit
from extender.scheduling.policies.price_fit_robust import PriceFitRobust
from extender.scheduling.policies.random import Random
from extender.scheduling.policies.spread import Spread

_FIXED: tuple[Policy, ...] = (
    Binpack(),
    Spread(),
    FirstFit(),
    GpuPacking(),
    GpuClustering(),
    Random(),
    Exclusive(),
    Gpushare(),
)
_WEIGHED: tuple[Callable[[Weights], Policy], ...] = (BestFit, DotProduct, Fgd, PriceFit, PriceFitRobust)


def policies_with(weights: Weights) -> Mapping[str, Policy]:
    """Every policy by its name, as it is when `weights` are known."""
    policies = (*_FIXED, *(make(weights) for make in _WEIGHED))
    return {policy.name: policy for policy in policies}


POLICIES: Mapping[str, Policy] = policies_with(UNLEARNED)
DEFAULT_POLICY = "price-fit-robust"


def policy_named(name: str, policies: Mapping[str, Policy] = POLICIES) -> Policy:
    """The policy called `name`.

    Raises:
        RequestError: there is none.
    """
    policy = policies.get(name)
    if policy is None:
        raise RequestError(f"policy {name!r}: expected one of {', '.join(policies)}")
    return policy
