"""Memory that NVML does not tell comes from a setting, by product name."""

import pytest

from device_plugin.settings import GivenMemory, parse_given_memory


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("", "NVIDIA GB10", None),
        ("110000", "NVIDIA GB10", 110000),
        ("*GB10*=110000", "NVIDIA GB10", 110000),
        ("nvidia gb10=110000", "NVIDIA GB10", 110000),
        ("NVIDIA-GB10 = 110000", "NVIDIA GB10", 110000),
        ("GB10=110000", "NVIDIA GB10", None),
        ("*Thor*=100000, *GB10*=110000, 5", "NVIDIA GB10", 110000),
        ("*Thor*=100000, *GB10*=110000, 5", "Orin (nvgpu)", 5),
    ],
)
def test_memory_of_a_model(text: str, model: str, expected: int | None) -> None:
    """The first pattern that matches counts; without a pattern it is every model's."""
    assert parse_given_memory(text).mib_of(model) == expected


@pytest.mark.parametrize("text", ["x", "*GB10*", "*GB10*=", "=5", "0", "-1", "5,", "2097153", "*GB10*=1e5", "110Gi"])
def test_what_is_no_size(text: str) -> None:
    """It is refused at the start."""
    with pytest.raises(ValueError, match="expected"):
        parse_given_memory(text)


def test_it_reads_as_it_is_written() -> None:
    """In the log of settings."""
    given = GivenMemory((("*GB10*", 110000), ("*", 5)))
    assert (str(given), parse_given_memory(str(given))) == ("*GB10*=110000,*=5", given)
