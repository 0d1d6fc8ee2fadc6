"""Policies are found by name."""

import pytest

from extender.scheduling.models import RequestError
from extender.scheduling.policies.table import DEFAULT_POLICY, POLICIES, policy_named


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_is_found_by_its_name(name: str) -> None:
    """The name in settings and annotations."""
    assert policy_named(name).name == name


def test_the_default_is_one_of_them() -> None:
    """Otherwise nothing would start."""
    assert policy_named(DEFAULT_POLICY) is POLICIES["binpack"]


@pytest.mark.parametrize("name", ["", "Binpack", "fastest"])
def test_an_unknown_policy_is_refused_with_the_choices(name: str) -> None:
    """An annotation that does not parse is never ignored."""
    with pytest.raises(RequestError) as caught:
        policy_named(name)
    assert str(caught.value) == f"policy {name!r}: expected one of {', '.join(POLICIES)}"
