"""Policies are found by name, with what is known of the cluster."""

import pytest

from extender.scheduling.pods.models import RequestError
from extender.scheduling.policies.fgd import Fgd
from extender.scheduling.policies.table import DEFAULT_POLICY, POLICIES, policies_with, policy_named
from tests.extender.scheduling.policies.properties import learned


def test_every_policy_is_found_by_its_name() -> None:
    """The key is the policy's own name."""
    assert {name: policy.name for name, policy in POLICIES.items()} == {name: name for name in POLICIES}
    assert DEFAULT_POLICY in POLICIES


def test_an_unknown_policy_is_refused_with_the_known_ones_named() -> None:
    """A typing error shows at once."""
    with pytest.raises(RequestError, match="'best': expected one of binpack, spread, first-fit"):
        policy_named("best")


def test_other_weights_make_another_policy() -> None:
    """What was remembered for the old one does not hold for the new one; without weights it is the same one."""
    one, other = policies_with(learned()), policies_with(learned())
    assert one["fgd"] != other["fgd"]
    assert one["binpack"] == other["binpack"]
    assert isinstance(one["fgd"], Fgd)
