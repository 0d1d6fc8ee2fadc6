"""A GPU counts and costs once, whatever MIG devices it is split into."""

import pytest

from extender.capacity.physical import cards_by_slice, cost_of, count_of, models_of, of_cards, part_of_card, unsplit
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, parse_models
from tests.extender.scheduling.builders import A100, T4, gpu, mig, record

MIXED = record("node", (gpu(0), mig(1), mig(2, 19, slices=2)))


def test_mig_devices_of_one_gpu_are_one_gpu() -> None:
    """Of its own model, at its own price."""
    assert (models_of(MIXED), count_of(MIXED)) == ([T4, A100], 2)
    assert cost_of(MIXED, {T4: 2.0, A100: 5.0}.__getitem__) == 7.0


def test_a_mig_device_is_its_share_of_the_gpu() -> None:
    """By slices."""
    assert MIXED.inventory is not None
    assert [part_of_card(each) for each in MIXED.inventory.gpus] == pytest.approx([1.0, 1 / 7, 2 / 7])


def test_an_unsplit_node_has_whole_gpus() -> None:
    """With the memory of their MIG devices; one that is not split is as it was."""
    whole = unsplit(MIXED)
    assert whole.inventory is not None
    assert [(each.uuid, each.model, each.memory_mib, each.mig) for each in whole.inventory.gpus] == [
        ("GPU-0", T4, 16 * 1024, None),
        ("GPU-parent", A100, 28 * 1024, None),
    ]
    assert (whole.whole_gpus, whole.memory_units, whole.shape.slices) == (2, 44, ())
    plain = record("node", (gpu(0),))
    assert unsplit(plain) is plain


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("*MIG-1g.10gb", ModelPatterns(("*",))),
        ("A100*MIG*,T4", ModelPatterns(("A100*", "T4"))),
        ("A100-SXM4-80GB-MIG-1g.10gb", ModelPatterns(("A100-SXM4-80GB*",))),
        ("A100*,!*MIG*,!T4", ModelPatterns(("A100*",), ("T4",))),
        ("!*MIG*", ANY_MODEL),
    ],
)
def test_patterns_without_mig(patterns: str, expected: ModelPatterns) -> None:
    """What is said of the GPU stays."""
    assert of_cards(parse_models(patterns), {}) == expected


@pytest.mark.parametrize("patterns", ["*1g.10gb", "*1g*", "*10gb,!*MIG-2g*", "*MIG-1g.10gb,!T4"])
def test_patterns_that_name_a_profile_accept_its_gpu(patterns: str) -> None:
    """With MIG in them or without; and no other GPU because of it, nor one that is refused."""
    by_slice = cards_by_slice([MIXED])
    assert by_slice == {f"{A100} MIG 1g.10gb": A100, f"{A100} MIG 2g.20gb": A100}
    models = of_cards(parse_models(patterns), by_slice)
    assert (models.match(A100), models.match(T4)) == (True, False)
    assert not of_cards(parse_models(f"{patterns},!A100*"), by_slice).match(A100)
    assert not of_cards(parse_models("*9g*"), by_slice).match(A100)
