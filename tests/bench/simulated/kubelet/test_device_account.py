"""The device manager's account follows the kubelet's rules for reuse, preference and freeing."""

from collections.abc import Collection

import pytest

from bench.simulated.kubelet.device_account import DeviceAccount, DeviceHolder, Draft, NoDevices, from_checkpoint

RESOURCE = "gpupack.io/gpu-mem"


def _sorted(ids: Collection[str]) -> list[str]:
    return sorted(ids)


def _account(*ids: str) -> DeviceAccount:
    account = DeviceAccount()
    account.set_devices(RESOURCE, ids, ())
    return account


def _holder(container: str = "main", pod: str = "u1") -> DeviceHolder:
    return DeviceHolder(pod, container, RESOURCE)


def _message(answer: Draft | NoDevices | None) -> str:
    assert isinstance(answer, NoDevices)
    return answer.message


def test_a_first_container_chooses_from_all_free_devices() -> None:
    """Nothing to reuse: everything healthy and free is offered."""
    account = _account("a", "b", "c")
    account.record(_holder(pod="u0"), frozenset("a"), b"")
    assert account.draft(_holder(), 2, frozenset(), _sorted) == Draft(frozenset(), frozenset("bc"), 2)


def test_the_preference_is_followed_where_it_is_available() -> None:
    """Preferred IDs first, then any; IDs that are not free are ignored."""
    draft = Draft(frozenset(), frozenset("abcd"), 2)
    assert draft.finish(["d", "x", "c"], _sorted) == frozenset("cd")
    assert draft.finish(["d"], _sorted) == frozenset("ad")


def test_reused_devices_are_part_of_the_offer_and_of_the_result() -> None:
    """The plugin sees available and reused IDs; the reused ones are kept whatever it says."""
    account = _account("a", "b", "c", "d")
    account.record(_holder("init"), frozenset("ab"), b"")
    draft = account.draft(_holder(), 3, frozenset("ab"), _sorted)
    assert isinstance(draft, Draft)
    assert (draft.offered, draft.complete) == (frozenset("abcd"), False)
    assert draft.finish(["d"], _sorted) == frozenset("abd")


def test_a_pool_that_covers_the_request_asks_nobody() -> None:
    """An app container smaller than its init container takes from the pool only."""
    account = _account("a", "b", "c")
    account.record(_holder("init"), frozenset("ab"), b"")
    draft = account.draft(_holder(), 1, frozenset("ab"), _sorted)
    assert isinstance(draft, Draft)
    assert (draft.complete, draft.finish((), _sorted)) == (True, frozenset("a"))


def test_too_few_devices_are_refused_in_the_kubelets_words() -> None:
    """The message names the resource and both numbers."""
    answer = _account("a").draft(_holder(), 2, frozenset(), _sorted)
    assert _message(answer) == (f"requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1")


@pytest.mark.parametrize("known", [True, False])
def test_no_devices_at_all_are_refused(*, known: bool) -> None:
    """Unregistered and all unhealthy are two different refusals."""
    account = DeviceAccount()
    if known:
        account.set_devices(RESOURCE, (), ("a",))
    text = _message(account.draft(_holder(), 1, frozenset(), _sorted))
    assert text.startswith("no healthy devices present" if known else "cannot allocate unregistered device")


def test_a_container_that_has_its_devices_gets_no_others() -> None:
    """A container restart makes no new Allocate."""
    account = _account("a", "b")
    account.record(_holder(), frozenset("a"), b"")
    assert account.draft(_holder(), 1, frozenset(), _sorted) is None


def test_devices_of_ended_pods_are_freed_when_asked() -> None:
    """They stay in use until the next admission drops them."""
    account = _account("a")
    account.record(_holder(pod="old"), frozenset("a"), b"")
    assert isinstance(account.draft(_holder(), 1, frozenset(), _sorted), NoDevices)
    account.drop_ended({"u1"})
    assert isinstance(account.draft(_holder(), 1, frozenset(), _sorted), Draft)


def test_capacity_keeps_unhealthy_devices_and_allocatable_does_not() -> None:
    """One device sick, then the plugin dead, then forgotten."""
    account = _account("a", "b")
    account.set_devices(RESOURCE, ("a",), ("b",))
    sick = account.capacity()
    account.mark_all_unhealthy(RESOURCE)
    dead = account.capacity()
    account.forget(RESOURCE)
    assert [sick, dead, account.capacity()] == [{RESOURCE: (2, 1)}, {RESOURCE: (2, 0)}, {RESOURCE: (0, 0)}]


def test_the_checkpoint_keeps_who_has_what() -> None:
    """After a restart the holders are known, the devices are not there until the plugin is back."""
    account = _account("a", "b")
    account.record(_holder(), frozenset("a"), b"answer")
    restored = from_checkpoint(account.to_checkpoint())
    assert (restored.held, restored.capacity()) == (account.held, {RESOURCE: (0, 0)})


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"Data":{},"Checksum":1}'])
def test_a_damaged_checkpoint_is_refused(text: bytes) -> None:
    """Never half read."""
    with pytest.raises(ValueError, match="checkpoint"):
        from_checkpoint(text)
