"""Typed names mean one GPU or are refused, and cordons are written so that doing it twice is doing it once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.cordon import CordonError, parse_cordon
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from extender.kube.objects import read_node
from extender.kubectl.commands.cordon import Target, changed, resolve, targets_of
from extender.kubectl.options import BadUsage, No
from tests.extender.objects import mixed_node, node, raw

KNOWN = [
    Target("n1", GpuUuid("GPU-aaa1"), 0),
    Target("n1", GpuUuid("GPU-aab2"), 1),
    Target("n2", GpuUuid("GPU-aab"), 0),
]
UUIDS = st.sets(st.sampled_from([GpuUuid(f"GPU-{letter}") for letter in "abcdef"]))


@pytest.mark.parametrize(
    ("word", "uuid"),
    [("n1/0", "GPU-aaa1"), ("GPU-aaa", "GPU-aaa1"), ("aaa", "GPU-aaa1"), ("GPU-aab", "GPU-aab"), ("aab2", "GPU-aab2")],
)
def test_what_means_one_gpu(word: str, uuid: str) -> None:
    """Its place, or its UUID or the beginning of it; a whole UUID is itself, though another begins so."""
    assert [target.uuid for target in resolve([word, word], KNOWN)] == [uuid]


@pytest.mark.parametrize(
    ("word", "error", "text"),
    [
        ("aa", BadUsage, "'aa' is ambiguous: n1/0 (GPU-aaa1), n1/1 (GPU-aab2), n2/0 (GPU-aab)"),
        ("GPU-", BadUsage, "ambiguous"),
        ("zzz", No, "no GPU has a UUID that begins like this"),
        ("", No, "no GPU has a UUID"),
        ("n1", BadUsage, "'n1' is a node: name one of its GPUs, such as n1/0"),
        ("n1/7", No, "node n1 has no GPU 7, it has 0, 1"),
        ("n9/0", No, "no node 'n9' with GPUs"),
        ("n1/" + "9" * 5000, BadUsage, "expected NODE/INDEX such as n1/0"),
        ("n1/first", BadUsage, "expected NODE/INDEX such as n1/0"),
    ],
)
def test_what_does_not(word: str, error: type[Exception], text: str) -> None:
    """The message names the word and what is there."""
    with pytest.raises(error) as caught:
        resolve([word], KNOWN)
    assert text in str(caught.value)


MIXED = targets_of([read_node(raw(mixed_node("n3")))], Names())


@pytest.mark.parametrize(
    ("word", "uuid"),
    [
        ("n3/0", "GPU-n3-0"),
        ("n3/1:0", "MIG-n3-1-0"),
        ("n3/1:2", "MIG-n3-1-2"),
        ("MIG-n3-1-1", "MIG-n3-1-1"),
        ("n3-1-1", "MIG-n3-1-1"),
        ("GPU-n3-1", "GPU-n3-1"),
        ("n3-1", "GPU-n3-1"),
    ],
)
def test_a_mig_device_has_its_own_name(word: str, uuid: str) -> None:
    """And the UUID of its GPU means all of them."""
    assert [target.uuid for target in resolve([word], MIXED)] == [uuid]


@pytest.mark.parametrize(
    ("word", "error", "text"),
    [
        (
            "n3/1",
            BadUsage,
            "GPU 1 is split into 3 MIG devices; name one, such as n3/1:0, or all of them by the UUID of the GPU, GPU-",
        ),
        ("n3/0:0", No, "node n3 has no GPU 0:0, it has 0, 1:0, 1:1, 1:2"),
        ("n3/1:7", No, "node n3 has no GPU 1:7"),
        ("n3/1:0:0", BadUsage, "n3/0:3 for MIG device 3 of GPU 0, or a UUID"),
        ("n3/1:", BadUsage, "expected NODE/INDEX"),
        ("MIG-n3", BadUsage, "ambiguous: n3/1:0 (MIG-n3-1-0), n3/1:1 (MIG-n3-1-1), n3/1:2 (MIG-n3-1-2)"),
        ("n3", BadUsage, "'n3' is a node: name one of its GPUs, such as n3/0"),
    ],
)
def test_what_means_no_mig_device_or_several(word: str, error: type[Exception], text: str) -> None:
    """The index of a GPU that is split would be the first of its MIG devices."""
    with pytest.raises(error) as caught:
        resolve([word], MIXED)
    assert text in str(caught.value)


def test_a_split_gpu_that_is_cordoned_is_there() -> None:
    """It is no GPU that outlived its node's inventory."""
    found = targets_of([read_node(raw(mixed_node("n3", cordon="GPU-n3-1,GPU-gone")))], Names())
    assert [target.text for target in found if target.mig is None] == [
        "n3/0 (GPU-n3-0)",
        "n3/1 (GPU-n3-1)",
        "n3 (GPU-gone)",
    ]


def test_gpus_come_from_inventories_and_from_cordons_that_outlived_them() -> None:
    """So that a GPU that was taken out of the machine can be uncordoned, too."""
    nodes = [
        node("n1", 16, annotations={"cordon": "GPU-gone"}),
        node("n2", annotations={"inventory": "{", "cordon": "nonsense"}),
    ]
    found = targets_of([read_node(raw(each)) for each in nodes], Names())
    assert found == [Target("n1", GpuUuid("GPU-n1-0"), 0), Target("n1", GpuUuid("GPU-gone"))]
    assert resolve(["gone"], found)[0].text == "n1 (GPU-gone)"


@given(before=UUIDS, asked=UUIDS, cordon=st.booleans(), as_json=st.booleans())
def test_cordoning_is_set_arithmetic(*, before: set[GpuUuid], asked: set[GpuUuid], cordon: bool, as_json: bool) -> None:
    """Exactly the asked GPUs change, none without need, and twice is once; the other form is read as well."""
    written = json.dumps(sorted(before)) if as_json else ",".join(sorted(before))
    text, new = changed(written, asked, cordon=cordon)
    after = before | asked if cordon else before - asked
    assert parse_cordon(text or "") == after
    assert set(new) == after ^ before
    assert changed(text, asked, cordon=cordon) == (text, [])
    if not new:
        assert text == written


def test_the_last_one_takes_the_annotation_with_it() -> None:
    """Nothing empty is left behind."""
    assert changed("GPU-a", [GpuUuid("GPU-a")], cordon=False) == (None, ["GPU-a"])
    assert changed(None, [GpuUuid("GPU-a")], cordon=False) == (None, [])


def test_what_cannot_be_read_is_not_overwritten() -> None:
    """Somebody meant something by it."""
    with pytest.raises(CordonError):
        changed("0,1", [GpuUuid("GPU-a")], cordon=True)
