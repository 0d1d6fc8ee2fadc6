"""Kubernetes quantities become integers exactly as kube-scheduler rounds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.quantity import parse_digits, parse_milli_quantity, parse_quantity
from extender.contract.units import ContractError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8", 8), ("10k", 10_000), ("1Gi", 2**30), ("100m", 1), ("1.5Ki", 1536), ("2e3", 2000), ("-3", -3), ("0", 0)],
)
def test_quantities_round_up(text: str, expected: int) -> None:
    """Whole numbers, decimal and binary suffixes, exponents."""
    assert parse_quantity(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("500m", 500), ("2", 2000), ("0.1", 100), ("1u", 1), ("1.5k", 1_500_000)]
)
def test_cpu_quantities_are_milli(text: str, expected: int) -> None:
    """CPU is counted in thousandths."""
    assert parse_milli_quantity(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("2001", 2001),
        ("9" * 64, 10**64 - 1),
        ("", None),
        ("\u00b22001", None),
        ("\u0663", None),
        ("-1", None),
        ("1_0", None),
        (" 1", None),
        ("9" * 65, None),
        ("9" * 5000, None),
    ],
)
def test_digits_are_a_number_and_nothing_else_is(text: str, expected: int | None) -> None:
    """Neither what only Unicode calls a digit, nor more of them than Python would read."""
    assert parse_digits(text) == expected


@pytest.mark.parametrize("power", range(1, 7))
def test_every_suffix_has_its_power(power: int) -> None:
    """Of 1000 and of 1024; below one there are three, each of 1000."""
    assert parse_quantity(f"3{'kMGTPE'[power - 1]}") == 3 * 1000**power
    assert parse_quantity(f"3{'KMGTPE'[power - 1]}i") == 3 * 1024**power
    assert [parse_quantity(f"{2 * 10**9}{suffix}") for suffix in "num"] == [2, 2000, 2_000_000]


def test_exponents_reach_to_thirty() -> None:
    """A smaller amount still counts as one; what is beyond is refused."""
    assert (parse_quantity("1e-30"), parse_quantity("1E18")) == (1, 10**18)
    with pytest.raises(ContractError, match="quantity '1e-31'"):
        parse_quantity("1e-31")


@pytest.mark.parametrize("text", ["", "8 Gi", "0x10", "1e99", "9" * 30, "1" * 70, "NaN", "Inf", "--1", "1ki", "٣"])
def test_absurd_quantities_are_refused(text: str) -> None:
    """Nothing that the API server would refuse, or that does not fit 63 bits, gets through."""
    with pytest.raises(ContractError, match="quantity"):
        parse_quantity(text)


@given(st.integers(min_value=0, max_value=2**62))
def test_plain_integers_round_trip(value: int) -> None:
    """The fast path and the exact path agree."""
    assert parse_quantity(str(value)) == value


@given(st.integers(min_value=0, max_value=2**50))
def test_milli_of_a_whole_number_is_a_thousand_times(value: int) -> None:
    """Both readings of one text agree."""
    assert parse_milli_quantity(str(value)) == 1000 * parse_quantity(str(value))
