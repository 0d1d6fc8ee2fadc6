"""Looks up what a GPU costs per hour, in an editable table that names each price's source and date."""

from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import click
import yaml

from extender.kubectl.options import BadUsage
from extender.scheduling.pods.models import ModelPatterns, RequestError, parse_models


class PriceError(ValueError):
    """A price table that cannot be used; the message names the row, the field and what was expected."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per GPU-hour of the models that match."""

    models: ModelPatterns
    usd_per_hour: float
    source: str
    date: date

    def __post_init__(self) -> None:
        if not 0 <= self.usd_per_hour < 10_000:
            raise PriceError(f"usd_per_hour is {self.usd_per_hour}, expected 0 to 10000")
        if not self.source:
            raise PriceError("source is empty, expected where the price is from")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices in order; the first that matches counts."""

    prices: tuple[Price, ...]

    def find(self, model: str) -> Price | None:
        """The price of one GPU of this model; None when no row matches."""
        return next((price for price in self.prices if price.models.match(model)), None)

    def usd_per_hour(self, model: str) -> float:
        """Dollars for one GPU of this model for an hour.

        Raises:
            PriceError: no row matches.
        """
        price = self.find(model)
        if price is None:
            raise PriceError(f"no price for GPU model {model!r}: add a row to the price table")
        return price.usd_per_hour


price_option = click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    envvar="GPUPACK_PRICES",
    metavar="FILE",
    help="Price table, a YAML list of {model, usd_per_hour, source, date}. Default: the shipped one.",
)
"""Names the file that `prices_given` reads."""


def prices_given(file: Path | None) -> PriceTable:
    """The table of `--prices`.

    Raises:
        BadUsage: the file is not a price table.
    """
    try:
        return load_prices(file)
    except (PriceError, OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--prices {file}: {error}") from error


def load_prices(path: Path | None = None) -> PriceTable:
    """Read a table, the shipped one by default.

    Raises:
        PriceError: the file is not a price table.
        OSError: it cannot be read.
    """
    if path is not None:
        text = path.read_text(encoding="utf-8")
    else:
        text = resources.files("extender.kubectl.cluster").joinpath("prices.yaml").read_text(encoding="utf-8")
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PriceError(f"price table: not YAML: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise PriceError("price table: expected a list of rows")
    return PriceTable(tuple(_row(row, number) for number, row in enumerate(rows, start=1)))


def _row(row: object, number: int) -> Price:
    if not isinstance(row, dict):
        raise PriceError(f"price table row {number}: {row!r}, expected model, usd_per_hour, source and date")
    model, amount, source, day = (row.get(key) for key in ("model", "usd_per_hour", "source", "date"))
    if not isinstance(model, str) or not isinstance(amount, int | float) or not isinstance(source, str):
        raise PriceError(f"price table row {number}: {row!r}, expected model, usd_per_hour, source and date")
    if not isinstance(day, date):
        raise PriceError(f"price table row {number}: date is {day!r}, expected YYYY-MM-DD")
    try:
        return Price(parse_models(model), float(amount), source, day)
    except (PriceError, RequestError) as error:
        raise PriceError(f"price table row {number}: {error}") from error
