"""Which GPU models the patterns of the gpu-model annotation accept."""

import pytest

from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, RequestError, parse_models

T4, A100, MIG = "Tesla T4", "NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB MIG 1g.10gb"


@pytest.mark.parametrize(
    ("patterns", "model", "expected"),
    [
        ("T4", T4, True),
        ("t4", T4, True),
        ("tesla t4", T4, True),
        ("Tesla*", T4, True),
        ("T4", "NVIDIA Tesla T4", True),
        ("T4", "NVIDIA T4", True),
        ("T4", "NVIDIA T400", False),
        ("T4*", "NVIDIA T400", True),
        ("A100*", A100, True),
        ("NVIDIA A100*", A100, True),
        ("A100-SXM4-80GB", A100, True),
        ("A100 SXM4 80GB", A100, True),
        ("*80GB", A100, True),
        ("A100-*-[48]0GB", A100, True),
        ("A100-*-[14]0GB", A100, False),
        ("A100", A100, False),
        ("H100*", A100, False),
        ("H100*,A100*", A100, True),
        (" H100* , A100* ", A100, True),
        ("!T4", T4, False),
        ("!T4", A100, True),
        ("! T4", T4, False),
        ("A100*,!*MIG*", A100, True),
        ("A100*,!*MIG*", MIG, False),
        ("!*MIG*,A100*", MIG, False),
        ("A100*,!*MIG*", T4, False),
        ("*", "", True),
        ("T4", "", False),
        ("!NVIDIA*", A100, False),
    ],
)
def test_patterns(patterns: str, model: str, expected: bool) -> None:  # noqa: FBT001 (a column of the table)
    """Accepted by one of the patterns, or none there, and refused by none."""
    assert parse_models(patterns).match(model) is expected


def test_no_annotation_accepts_every_model() -> None:
    """Even a GPU without a name."""
    assert [ANY_MODEL.match(model) for model in (T4, A100, MIG, "")] == [True] * 4


@pytest.mark.parametrize("text", ["", " ", ",", "A100*,", "!", "A100*,! ,T4"])
def test_an_empty_pattern_is_refused(text: str) -> None:
    """An annotation that does not parse is never ignored."""
    with pytest.raises(RequestError) as caught:
        parse_models(text)
    assert str(caught.value) == f"gpu-model {text!r}: expected patterns such as A100*,!*MIG*"


def test_an_absurdly_long_annotation_is_refused() -> None:
    """Thousands of patterns would be matched while every other pod waits."""
    with pytest.raises(RequestError) as caught:
        parse_models("A100*," * 1000 + "T4")
    assert str(caught.value) == "gpu-model of 6002 characters: expected at most 1024"


@pytest.mark.parametrize("text", ["a100*,!*Mig-1g*", " a100* , ! *Mig-1g* "])
def test_patterns_are_kept_as_they_were_written(text: str) -> None:
    """People see their own words; the blanks around them are none."""
    assert parse_models(text) == ModelPatterns(("a100*",), ("*Mig-1g*",))
