"""A GPU that a pod has stays in sight over a restart of the plugin, and only as long as that."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.remembering import UNSEEN, EarlierGpus
from extender.contract.inventory import Inventory
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, sample, slice_of

A, B, ONE, TWO = sample("GPU-a"), sample("GPU-b", index=1), slice_of("GPU-c", "MIG-1"), slice_of("GPU-c", "MIG-2", gi=8)


def earlier(*gpus: GpuSample, held: Collection[str] | None = ()) -> EarlierGpus:
    """What an earlier run published, while pods have these."""
    found = EarlierGpus(lambda: None if held is None else frozenset(GpuUuid(each) for each in held))
    found.restore(Inventory(UNIT_MIB, tuple(gpu.published() for gpu in gpus)))
    return found


@pytest.mark.parametrize("gone", [A, ONE])
def test_what_a_pod_has_and_nobody_shows_is_unhealthy(gone: GpuSample) -> None:
    """A GPU as well as a MIG device, as it was published."""
    found = earlier(gone, B, TWO, held=[gone.uuid])
    assert found.missing([B, TWO]) == (replace(gone, healthy=False, reason=UNSEEN),)


@pytest.mark.parametrize("gone", [A, ONE])
def test_what_no_pod_has_is_forgotten(gone: GpuSample) -> None:
    """Nor is anything known of a GPU that no inventory named."""
    assert earlier(gone, B, held=[B.uuid]).missing([B]) == ()
    assert earlier(B, held=[gone.uuid]).missing([B]) == ()


def test_what_was_shown_since_is_the_drivers_to_remember() -> None:
    """One that is shown is as healthy as the driver says, and is not added when the driver drops it."""
    found = earlier(A, ONE, held=[A.uuid, ONE.uuid])
    assert found.missing([A, ONE]) == ()
    found.see([A, ONE])
    assert found.missing([]) == ()


def test_a_gpu_that_became_mig_devices_is_not_there_twice() -> None:
    """Its MIG devices have its memory; those that were destroyed are beside the GPU that they were of."""
    card = sample("GPU-c")
    assert earlier(card, held=[card.uuid]).missing([ONE, TWO]) == ()
    assert [each.uuid for each in earlier(ONE, held=[ONE.uuid]).missing([card])] == [ONE.uuid]


def test_while_the_pods_are_not_known_what_they_had_counts() -> None:
    """At the start nothing is known of them."""
    assert earlier(A, held=None).missing([]) == ()
    found = earlier(A, held=[A.uuid])
    found.missing([])
    found.held = lambda: None
    assert [each.uuid for each in found.missing([])] == [A.uuid]
