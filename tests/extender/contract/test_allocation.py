"""The allocation annotation survives the round trip and refuses what it cannot mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.allocation import Allocation, parse_allocation
from extender.contract.units import ContractError, GpuUuid, UnitMib, Units

GPUS = st.dictionaries(
    st.text(min_size=1, max_size=40).map(GpuUuid), st.integers(min_value=1, max_value=600).map(Units), max_size=8
)
ALLOCATIONS = st.builds(
    Allocation,
    unit_mib=st.sampled_from([256, 512, 1024]).map(UnitMib),
    containers=st.dictionaries(st.text(min_size=1, max_size=20), GPUS, max_size=4),
    policy=st.text(max_size=20),
    at=st.just("2026-01-31T12:00:00Z"),
)


@given(ALLOCATIONS)
def test_round_trip(allocation: Allocation) -> None:
    """Writing and reading gives the same value."""
    assert parse_allocation(allocation.to_json()) == allocation


def test_the_text_is_what_the_documentation_shows() -> None:
    """Scripts rely on this form."""
    allocation = Allocation(UnitMib(1024), {"main": {GpuUuid("GPU-a"): Units(8)}}, "binpack", "2026-01-31T12:00:00Z")
    assert allocation.to_json() == (
        '{"version":1,"unitMib":1024,"containers":{"main":{"GPU-a":8}},"policy":"binpack","at":"2026-01-31T12:00:00Z"}'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"version":2}', "version is 2, expected 1"),
        ('{"version":1,"unitMib":1024}', "containers is None, expected an object"),
        ('{"version":1,"unitMib":1000,"containers":{}}', "1000"),
        ('{"version":1,"unitMib":1024,"containers":{"a":{"GPU-a":0}}}', "containers.a.GPU-a is 0, expected at least 1"),
        ('{"version":1,"unitMib":1024,"containers":{"a":{"GPU-a":true}}}', "is True, expected an integer"),
        ('{"version":1,"unitMib":1024,"containers":{"a":[]}}', "containers.a is"),
        (
            '{"version":1,"unitMib":1024,"containers":{"a":{"GPU-a":9999999999}}}',
            "containers.a.GPU-a is beyond 1073741824",
        ),
        (
            '{"version":1,"unitMib":1024,"containers":{},"policy":"\\ud800"}',
            "allocation: expected text that UTF-8 can hold",
        ),
        ('{"version":1,"unitMib":1024,"containers":{"\\uDFFF":{}}}', "got half of a surrogate pair"),
        ("[" * 100_000, "not JSON"),
        (" " * 300_000, "expected at most"),
    ],
)
def test_bad_annotations_name_the_field(text: str, message: str) -> None:
    """Each refusal says which field, its value, and what was expected."""
    with pytest.raises(ContractError) as caught:
        parse_allocation(text)
    assert message in str(caught.value)


def test_a_whole_surrogate_pair_is_text() -> None:
    """Only half of one is refused."""
    text = r'{"version":1,"unitMib":1024,"containers":{},"policy":"\ud83d\ude00"}'
    assert parse_allocation(text).policy == "\U0001f600"
