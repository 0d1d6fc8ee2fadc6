"""A linear programme with columns that come later: max c z, A z <= b, z >= 0, with b >= 0. Revised simplex on numpy."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_EPSILON = 1e-9
_REFRESH_PIVOTS = 150
_PIVOTS = 50_000


class LinearProgramme:
    """Starts from the slack basis, and from the last optimum after columns were added.

    Zeros in `limits` make simplex stall, so each limit is raised by a tiny amount of its own. That can only raise the
    optimum: it stays an upper bound, by less than `slack` times the prices of the rows.
    """

    def __init__(self, limits: Vector, *, slack: float = 1e-5) -> None:
        if (limits < 0).any():
            raise ValueError("a limit is below 0, expected 0 or more")
        rows = len(limits)
        spread = np.random.default_rng(0).uniform(0.5, 1.0, rows)
        self._limits = limits + slack * spread
        self._rows = rows
        self._columns = np.eye(rows)
        self._gains = np.zeros(rows)
        self._basis = np.arange(rows)
        self._inverse: Vector = np.eye(rows)
        self._amounts = self._limits.copy()

    def add(self, columns: Vector, gains: Vector) -> None:
        """Add columns, given as the columns of a matrix, with their gains."""
        self._columns = np.hstack([self._columns, columns])
        self._gains = np.concatenate([self._gains, gains])

    def solve(self) -> tuple[float, Vector]:
        """The optimum and the price of each row.

        Raises:
            ArithmeticError: unbounded, or no end in sight.
        """
        for pivot in range(_PIVOTS):
            if pivot % _REFRESH_PIVOTS == _REFRESH_PIVOTS - 1:
                self._refresh()
            prices = self._gains[self._basis] @ self._inverse
            reduced = self._gains - prices @ self._columns
            entering = int(reduced.argmax())
            if reduced[entering] <= _EPSILON:
                return float(self._gains[self._basis] @ self._amounts), prices
            self._pivot(entering)
        raise ArithmeticError(f"no optimum after {_PIVOTS} pivots")

    def _pivot(self, entering: int) -> None:
        direction = self._inverse @ self._columns[:, entering]
        able = direction > _EPSILON
        if not able.any():
            raise ArithmeticError("the programme is unbounded")
        ratios = np.full(self._rows, np.inf)
        ratios[able] = self._amounts[able] / direction[able]
        leaving = int(ratios.argmin())
        step = ratios[leaving]
        self._amounts = np.maximum(0.0, self._amounts - step * direction)
        self._amounts[leaving] = step
        row = self._inverse[leaving] / direction[leaving]
        direction[leaving] = 0.0
        self._inverse -= np.outer(direction, row)
        self._inverse[leaving] = row
        self._basis[leaving] = entering

    def _refresh(self) -> None:
        """Rounding errors add up: compute the inverse afresh."""
        self._inverse = np.asarray(np.linalg.inv(self._columns[:, self._basis]), dtype=np.float64)
        self._amounts = np.maximum(0.0, self._inverse @ self._limits)
