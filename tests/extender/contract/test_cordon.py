"""The cordon annotation is a JSON list or a comma list of UUIDs; anything else is an error, not a guess."""

import pytest

from extender.contract.cordon import CordonError, names_of, parse_cordon, unknown_in
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("GPU-a", {"GPU-a"}),
        (" GPU-a, GPU-b ,", {"GPU-a", "GPU-b"}),
        ('["GPU-a", "GPU-b"]', {"GPU-a", "GPU-b"}),
        ("[]", set()),
        ("GPU-a,MIG-b", {"GPU-a", "MIG-b"}),
    ],
)
def test_both_forms(text: str, expected: set[str]) -> None:
    """An empty one cordons nothing."""
    assert parse_cordon(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["GPU-a"', "not JSON"),
        (r'["GPU-\ud800"]', "expected text that UTF-8 can hold"),
        ('{"GPU-a": true}', "expected a list of GPU UUIDs"),
        ('["GPU-a", 0]', "0 is no GPU UUID, expected GPU-... or MIG-..."),
        ("0,1", "'0' is no GPU UUID"),
        ("GPU-a GPU-b", "'GPU-a GPU-b' is no GPU UUID"),
        ("mig-b", "'mig-b' is no GPU UUID, expected GPU-... or MIG-..."),
        ("GPU-" * 20000, "80000 characters, expected at most 65536"),
    ],
)
def test_what_cannot_be_meant_is_an_error(text: str, words: str) -> None:
    """An index would be another GPU after the next reboot."""
    with pytest.raises(CordonError) as caught:
        parse_cordon(text)
    assert words in str(caught.value)


def test_uuids_that_the_node_has_not() -> None:
    """Most likely a mistake in typing."""
    assert unknown_in([GpuUuid("GPU-b"), GpuUuid("GPU-a")], [GpuUuid("GPU-a")]) == ("GPU-b",)


def test_a_mig_device_is_cordoned_by_its_uuid_or_by_that_of_its_gpu() -> None:
    """A GPU by its own alone."""
    gpu, device = GpuUuid("GPU-a"), GpuUuid("MIG-b")
    assert names_of(gpu, None) == ("GPU-a",)
    assert names_of(device, MigDevice(gpu, 3, 9, 0, "1g.10gb", 1, 7)) == ("MIG-b", "GPU-a")
