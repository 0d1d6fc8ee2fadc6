"""Parses Kubernetes quantities ("500m", "8", "10k", "1Gi") into integers, rounded up as kube-scheduler does.

Source: k8s.io/apimachinery/pkg/api/resource (Quantity.Value and Quantity.MilliValue round away from zero).
"""

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil

from extender.contract.units import ContractError

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE])?)", re.ASCII)
_SUFFIX = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}
_LONGEST = 64
_LARGEST = 2**63 - 1


@lru_cache(maxsize=4096)  # a cluster's pods write the same few quantities again and again
def _parse(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ContractError(f"quantity {text[:_LONGEST]!r}: expected a Kubernetes quantity such as 8, 500m or 1Gi")
    number, exponent, suffix = match.groups()
    value = Fraction(number)
    if exponent:
        power = int(exponent[1:])
        if abs(power) > 30:
            raise ContractError(f"quantity {text!r}: expected a value below 2^63")
        value *= Fraction(10) ** power
    elif suffix:
        value *= _SUFFIX[suffix]
    if abs(value) > _LARGEST:
        raise ContractError(f"quantity {text!r}: expected a value below 2^63")
    return value


def parse_digits(text: str) -> int | None:
    """The number that 1 to 64 ASCII digits write, None of any other text.

    `str.isdigit` takes `²`, and `int` raises ValueError for that and for more than 4,300 digits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else None


def parse_quantity(text: str) -> int:
    """Value of a quantity, rounded up.

    Raises:
        ContractError: not a quantity, or beyond 63 bits.
    """
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    return ceil(_parse(text))


def parse_milli_quantity(text: str) -> int:
    """Thousandths of a quantity, rounded up ("500m" is 500, "2" is 2000).

    Raises:
        ContractError: not a quantity, or beyond 63 bits.
    """
    if text.isascii() and len(text) < 16:
        if text.isdigit():
            return int(text) * 1000
        if text.endswith("m") and text[:-1].isdigit():
            return int(text[:-1])
    return ceil(_parse(text) * 1000)
