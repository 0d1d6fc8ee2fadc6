"""What is offered is what the source shows, minus probation, conflicts and cordons, with the rung of each GPU."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from device_plugin.gpus.gpu import GpuSample, GpuSourceError, GpuSourceStalledError
from device_plugin.gpus.probation import Probation
from device_plugin.gpus.remembering import UNSEEN, EarlierGpus
from device_plugin.gpus.standing import ADVISORY_ONLY, Standing
from device_plugin.sampling.supervising import SupervisedSource
from device_plugin.settings import Rung
from extender.contract.inventory import Inventory
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, sample, slice_of
from tests.device_plugin.serving import FixedSource

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


class OneStanding:
    """The same standing for every GPU."""

    def __init__(self, standing: Standing = ADVISORY_ONLY) -> None:
        self.standing = standing

    def standings(self, uuids: Iterable[GpuUuid]) -> Mapping[GpuUuid, Standing]:
        return dict.fromkeys(uuids, self.standing)


def health(source: SupervisedSource) -> dict[str, str]:
    """Reason by UUID; `ok` for those that are offered."""
    return {each.uuid: "ok" if each.healthy else each.reason for each in source.sample()}


def test_a_cordoned_gpu_is_out_until_the_cordon_is_lifted_and_back_at_once() -> None:
    """Lifting it needs no probation: the GPU was never ill."""
    source = SupervisedSource(FixedSource(sample(A), sample(B)), OneStanding(), Probation(30.0))
    assert source.cordon(frozenset({A}))
    assert not source.cordon(frozenset({A}))
    assert health(source) == {A: "cordoned by hand", B: "ok"}
    source.cordon(frozenset())
    assert health(source) == {A: "ok", B: "ok"}


def test_a_cordon_of_a_gpu_takes_all_its_mig_devices_out() -> None:
    """One of a MIG device takes that one out."""
    slices = [slice_of(A, "MIG-1"), slice_of(A, "MIG-2", gi=8), sample(B, index=1)]
    source = SupervisedSource(FixedSource(*slices), OneStanding(), Probation(30.0))
    source.cordon(frozenset({A}))
    assert health(source) == {"MIG-1": "cordoned by hand", "MIG-2": "cordoned by hand", B: "ok"}
    source.cordon(frozenset({GpuUuid("MIG-2")}))
    assert health(source) == {"MIG-1": "ok", "MIG-2": "cordoned by hand", B: "ok"}


def test_what_pods_had_before_a_restart_is_added_in_its_place_until_it_is_seen() -> None:
    """By index and number, unhealthy; it then comes back as any GPU that was unhealthy."""
    one, two = slice_of(A, "MIG-1", gi=7), slice_of(A, "MIG-2", gi=8)
    earlier = EarlierGpus(lambda: {one.uuid})
    earlier.restore(Inventory(UNIT_MIB, (one.published(), two.published())))
    inner = FixedSource(two, sample(B, index=1))
    source = SupervisedSource(inner, OneStanding(), Probation(30.0), lambda: 0.0, earlier)
    assert list(health(source).items()) == [("MIG-1", UNSEEN), ("MIG-2", "ok"), (B, "ok")]
    inner.samples = (one, two)
    assert health(source) == {"MIG-1": f"on probation for 30 s after: {UNSEEN}", "MIG-2": "ok"}


def test_a_gpu_that_somebody_else_gives_out_is_out_until_it_is_free() -> None:
    """With who it is."""
    source = SupervisedSource(FixedSource(sample(A)), OneStanding(), Probation(30.0))
    assert source.conflict({A: "nvidia.com/gpu gave it to pod team/p, container main"})
    assert health(source) == {
        A: "also given out by another plugin: nvidia.com/gpu gave it to pod team/p, container main"
    }
    assert source.conflict({})
    assert health(source) == {A: "ok"}


def test_the_gpus_own_illness_is_named_first() -> None:
    """An admin who lifts the cordon must know what is left."""
    source = SupervisedSource(FixedSource(sample(A, healthy=False, reason="XID 79")), OneStanding(), Probation(0.0))
    source.cordon(frozenset({A}))
    assert health(source) == {A: "XID 79"}


def test_probation_follows_an_illness() -> None:
    """By the clock of the plugin."""
    now = [0.0]
    inner = FixedSource(sample(A, healthy=False, reason="XID 79"))
    source = SupervisedSource(inner, OneStanding(), Probation(30.0), lambda: now[0])
    health(source)
    inner.samples = (sample(A),)
    assert health(source) == {A: "on probation for 30 s after: XID 79"}
    now[0] = 30.0
    assert health(source) == {A: "ok"}


class FailingSource(FixedSource):
    """Fails when the test says so."""

    error: GpuSourceError | None = None

    def sample(self) -> tuple[GpuSample, ...]:
        if self.error is not None:
            raise self.error
        return self.samples


@pytest.mark.parametrize("error", [GpuSourceStalledError(), GpuSourceError("NVML cannot count the GPUs")])
def test_probation_follows_a_source_that_failed(error: GpuSourceError) -> None:
    """Nobody knows what happened to its GPUs meanwhile; at the start there is nothing to follow."""
    now = [0.0]
    inner = FailingSource(sample(A))
    source = SupervisedSource(inner, OneStanding(), Probation(30.0), lambda: now[0])
    inner.error = error
    with pytest.raises(type(error)):
        source.sample()
    inner.error = None
    assert health(source) == {A: "ok"}
    inner.error = error
    with pytest.raises(type(error)):
        source.sample()
    inner.error = None
    assert health(source) == {A: f"on probation for 30 s after: {error}"}
    now[0] = 30.0
    assert health(source) == {A: "ok"}


def test_a_source_that_fails_every_other_time_changes_few_reasons() -> None:
    """On all its GPUs at once."""
    now = [0.0]
    inner = FailingSource(sample(A))
    source = SupervisedSource(inner, OneStanding(), Probation(30.0), lambda: now[0])
    health(source)
    seen: list[str] = []
    for at_s in range(20):
        now[0] = float(at_s)
        inner.error = GpuSourceError("NVML cannot count the GPUs") if at_s % 2 else None
        try:
            seen += [each.reason for each in source.sample()]
        except GpuSourceError as error:
            seen += [each.reason for each in error.known]
    assert sum(old != new for old, new in pairwise(seen)) == 4


def test_the_rung_is_published_with_the_gpu() -> None:
    """As one word."""
    source = SupervisedSource(FixedSource(sample(A)), OneStanding(Standing((Rung.MPS, Rung.ADVISORY))), Probation(0.0))
    assert [each.published().enforcement for each in source.sample()] == ["mps"]


def test_gpus_are_all_cordoned_by_their_own_name_or_their_cards() -> None:
    """As an admin names them; one that is not cordoned is enough to say no."""
    place = MigDevice(GpuUuid("GPU-b"), device=0, gi=7, ci=0, profile="1g.5gb", slices=1, of=7)
    part = replace(sample(GpuUuid("MIG-b")), mig=place)
    source = SupervisedSource(FixedSource(), OneStanding(), Probation(0.0))
    source.cordon(frozenset({A, GpuUuid("GPU-b")}))
    assert source.are_cordoned([sample(A), part])
    assert not source.are_cordoned([sample(A), part, sample(GpuUuid("GPU-c"))])
