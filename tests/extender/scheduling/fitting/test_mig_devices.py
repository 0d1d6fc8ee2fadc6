"""MIG devices serve shares like small GPUs, go whole only to who names them, and are never combined."""

import pytest

from extender.scheduling.fitting.judging import judge
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.pods.request import PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES
from tests.extender.scheduling.builders import (
    BINPACK,
    UNIT_MIB,
    app,
    fitted,
    gpu,
    holder,
    info,
    init,
    mig,
    on,
    record,
    refused,
    shares,
    wholes,
)

MIXED = record("node", (gpu(0), mig(1), mig(2, 19, slices=2)))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_a_plain_whole_gpu_is_never_a_mig_device(policy: Policy) -> None:
    """Whatever the policy would like best, and although they are idle when the GPU is not."""
    assert fitted(info(MIXED), wholes(1), policy).chosen == ((0,),)
    busy = info(MIXED, [holder("a", on(whole=[0]))])
    assert refused(busy, wholes(1), policy) is Misfit.NOT_IDLE


@pytest.mark.parametrize(
    ("models", "expected"),
    [("*MIG 1g.10gb", 1), ("*MIG-1g*", 1), ("*mig-2g.20gb", 2), ("T4,*MIG 2g*,!T4", 2), ("*MIG*,!*1g*", 2)],
)
def test_a_mig_device_goes_whole_to_who_names_it(models: str, expected: int) -> None:
    """By a pattern with MIG in it, in any case and with or without blanks."""
    assert fitted(info(MIXED), wholes(1, models=models)).chosen == ((expected,),)


@pytest.mark.parametrize("models", ["A100*", "*1g*", "*", "!T4", "A100*,!*MIG*"])
def test_a_pattern_without_mig_names_none(models: str) -> None:
    """`A100*` means cards, though the product name of their slices begins so."""
    place = info(record("node", (mig(0), mig(1))))
    assert refused(place, wholes(1, models=models)) in (Misfit.MIG_NOT_NAMED, Misfit.NO_MODEL)


def test_shares_are_packed_on_mig_devices_as_on_small_gpus() -> None:
    """The tightest first, with compute in percent of the device."""
    place = info(MIXED)
    assert fitted(place, shares(4, core=100)).chosen == ((1,),)
    assert fitted(place, shares(12)).chosen == ((0,),)
    assert fitted(place, shares(18)).chosen == ((2,),)
    full = info(MIXED, [holder("a", on({1: 2}, cores={1: 60}))])
    assert fitted(full, shares(2, core=40)).chosen == ((1,),)
    assert fitted(full, shares(2, core=50)).chosen != ((1,),)
    assert refused(place, shares(20)) is Misfit.TOO_LARGE


def test_a_pod_keeps_off_mig_devices() -> None:
    """With the pattern that refuses them."""
    assert fitted(info(MIXED), shares(4, models="!*MIG*")).chosen == ((0,),)


@pytest.mark.parametrize(
    "request_",
    [
        shares(4, count=2),
        shares(4, count=2, core=20),
        shares(4, count=2, models="*,*MIG*"),
        wholes(2),
        wholes(2, models="*,*MIG*"),
        pod_request((init(gpus=2), app(gpus=1))),
    ],
)
def test_mig_devices_are_never_combined(request_: PodRequest) -> None:
    """Neither with each other nor with a GPU: a CUDA process uses one."""
    for gpus in ((mig(0), mig(1)), (gpu(0), mig(1)), (gpu(0), mig(1), mig(2))):
        assert not refused(info(record("node", gpus)), request_).passing
    assert fitted(info(record("node", (gpu(0), mig(1), gpu(2)))), request_).chosen[0] == (0, 2)


def test_containers_of_one_pod_may_have_a_mig_device_each() -> None:
    """Each of them sees its own alone."""
    place = info(record("node", (mig(0), mig(1), gpu(2))))
    assert sorted(fitted(place, wholes(1, 1, models="*MIG*")).chosen) == [(0,), (1,)]
    assert sorted(fitted(place, shares(9, 9)).chosen) == [(0,), (1,)]


def test_the_search_tells_mig_devices_from_gpus_alike() -> None:
    """All three are idle and as large: the whole one must leave both GPUs to gpu-count."""
    request = pod_request(
        (app(gpus=1, name="a"), app(8, name="b")), gpu_count=2, models=wholes(1, models="*,*MIG*").models
    )
    place = info(record("node", (gpu(0), gpu(1), mig(2, 16))))
    assert fitted(place, request).chosen == ((0, 1), (2,))


def test_the_search_does_not_combine_them_either() -> None:
    """The first container takes both GPUs; nothing but MIG devices is left for the second."""
    place = info(record("node", (gpu(0, 4), gpu(1, 4), mig(2), mig(3))))
    assert refused(place, shares(8, 6, count=2)) is Misfit.TOO_LARGE


def test_each_mig_device_says_why_it_is_none_for_the_pod() -> None:
    """In the explanation of the node."""
    place = info(MIXED)
    named = "a MIG device, which must be named in gpu-model to be given whole"
    assert judge(place, wholes(1), BINPACK).gpu_reasons(UNIT_MIB) == ["", named, named]
    combined = "a MIG device, which cannot be combined with other GPUs"
    assert judge(place, shares(2, count=2), BINPACK).gpu_reasons(UNIT_MIB)[1:] == [combined, combined]
    assert judge(place, shares(2), BINPACK).gpu_reasons(UNIT_MIB) == ["", "", ""]
