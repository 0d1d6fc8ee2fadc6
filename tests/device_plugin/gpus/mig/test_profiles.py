"""Names of MIG devices' sizes say how many slices and how much memory they have."""

import pytest

from device_plugin.gpus.mig.profiles import profile_in
from extender.contract.mig import MigProfile, parse_profile


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1g.10gb", MigProfile("1g.10gb", 1, 1, 10)),
        ("7g.80gb", MigProfile("7g.80gb", 7, 7, 80)),
        ("1c.3g.20gb", MigProfile("1c.3g.20gb", 3, 1, 20)),
        ("1g.5gb+me", MigProfile("1g.5gb+me", 1, 1, 5)),
        ("1g.24gb+gfx", MigProfile("1g.24gb+gfx", 1, 1, 24)),
        ("2g.48gb-me", MigProfile("2g.48gb-me", 2, 2, 48)),
        ("1g.35gb+me.all", MigProfile("1g.35gb+me.all", 1, 1, 35)),
    ],
)
def test_names_of_nvidia_are_known(name: str, expected: MigProfile) -> None:
    """With compute instances of a part of the slices, and with attributes."""
    assert parse_profile(name) == expected


@pytest.mark.parametrize("name", ["", "1g", "0g.5gb", "1g.0gb", "4c.3g.20gb", "1g.10GB", " 1g.10gb", "1g.10gb "])
def test_other_names_are_none(name: str) -> None:
    """Also a compute instance with more slices than its GPU instance."""
    assert parse_profile(name) is None


def test_memory_is_about_that_of_an_a100() -> None:
    """What NVIDIA documents for 40 GB, MiB."""
    sizes = {name: found.memory_mib for name in ("1g.5gb", "2g.10gb", "3g.20gb") if (found := parse_profile(name))}
    assert sizes == {"1g.5gb": 4864, "2g.10gb": 9856, "3g.20gb": 19968}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "1g.10gb"),
        ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", "1c.3g.40gb"),
        ("NVIDIA A100-SXM4-80GB", ""),
        ("NVIDIA A100 MIG something", ""),
    ],
)
def test_the_profile_is_in_the_name_of_the_device(model: str, expected: str) -> None:
    """As NVML writes it."""
    assert profile_in(model) == expected
