"""The price table that commands reckon with: from an option to the table, or one clear line."""

from pathlib import Path

import click

from extender.kubectl.failures import BadUsage
from extender.prices import PriceError, PriceTable, load_prices

price_option = click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    envvar="GPUPACK_PRICES",
    metavar="FILE",
    help="Price table, YAML: a list of {model, usd_per_hour, source, date}; else the shipped one.",
)


def table_of(file: Path | None) -> PriceTable:
    """The table in the file, or the shipped one.

    Raises:
        BadUsage: it is none.
    """
    try:
        return load_prices(file)
    except (PriceError, OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--prices {file}: {error}") from error


def usd_per_hour(table: PriceTable, model: str) -> float | None:
    """Dollars for one GPU of this model for an hour; None where the table does not have it."""
    price = table.find(model)
    return None if price is None else price.usd_per_hour


def usd(amount: float | None) -> str:
    """For people: `1,234.50`; "-" where nobody knows."""
    return "-" if amount is None else f"{amount:,.2f}"
