"""Prices come from an editable table, the first matching row counts, and a missing model is an error, not zero."""

from pathlib import Path

import pytest

from extender.kubectl.cluster.prices import PriceError, load_prices


def test_the_shipped_table_knows_the_models_of_the_demo_and_of_the_trace() -> None:
    """An A100 is not an A10, and each price names its source."""
    prices = load_prices()
    models = ["Tesla T4", "P100", "NVIDIA A10", "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "V100M32", "G2", "G3"]
    assert [prices.usd_per_hour(model) for model in models] == [0.35, 1.46, 1.006, 4.10, 12.29, 2.48, 1.0, 1.0]
    assert all(price.source and price.date.year >= 2025 for price in prices.prices)


def test_a_model_without_a_price_is_an_error() -> None:
    """A silent zero would make the cheapest cluster."""
    with pytest.raises(PriceError, match="no price for GPU model 'MI300X'"):
        load_prices().usd_per_hour("MI300X")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a list of rows"),
        ("- 3", "row 1: 3, expected model"),
        ("- {model: T4, usd_per_hour: -1, source: x, date: 2026-01-01}", "row 1: usd_per_hour is -1"),
        ("- {model: T4, usd_per_hour: 1, source: x, date: soon}", "row 1: date is 'soon'"),
        ("- {model: '', usd_per_hour: 1, source: x, date: 2026-01-01}", "row 1: gpu-model ''"),
        ("- {model: T4, usd_per_hour: 1, source: '', date: 2026-01-01}", "source is empty"),
        (": : :", "not YAML"),
    ],
)
def test_bad_tables_name_the_row_and_the_field(tmp_path: Path, text: str, message: str) -> None:
    """Each refusal says where and what was expected."""
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PriceError) as caught:
        load_prices(file)
    assert message in str(caught.value)
