"""A command-line option's type for numbers that are numbers: no `nan`, which is in every range, and no infinity."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """As click's range of floats, which lets `nan` through because it is neither below nor above a limit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or outside of the range.
        """
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that can be used.", param, ctx)
        return number
