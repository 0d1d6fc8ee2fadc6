"""A GPU stands on its best proven rung; nothing claims more."""

import pytest

from device_plugin.gpus.standing import ADVISORY_ONLY, Obstacles, Standing, standing
from device_plugin.settings import Rung

ALL = Standing(tuple(Rung))
ON_MPS = Standing((Rung.MPS, Rung.WATCHED, Rung.ADVISORY))


@pytest.mark.parametrize(
    ("obstacles", "best", "expected"),
    [
        (Obstacles("", "", ""), Rung.DRIVER, Standing(tuple(Rung))),
        (
            Obstacles("driver 570 has no memory limits", "", ""),
            Rung.DRIVER,
            Standing((Rung.MPS, Rung.WATCHED, Rung.ADVISORY), "driver: driver 570 has no memory limits"),
        ),
        (
            Obstacles("", "no daemon", ""),
            Rung.WATCHED,
            Standing((Rung.WATCHED, Rung.ADVISORY), "driver: turned off; mps: turned off"),
        ),
        (
            Obstacles("a", "b", "c"),
            Rung.DRIVER,
            Standing((Rung.ADVISORY,), "driver: a; mps: b; watched: c"),
        ),
        (Obstacles("", "b", "c"), Rung.DRIVER, Standing((Rung.DRIVER, Rung.ADVISORY))),
    ],
)
def test_the_best_proven_rung_and_why_not_a_better_one(obstacles: Obstacles, best: Rung, expected: Standing) -> None:
    """What was not proven, or is turned off, is never claimed, not even as a way out for a container."""
    assert standing(obstacles, best) == expected


def test_before_any_probe_a_gpu_is_advisory() -> None:
    """Nothing was tried, so nothing is claimed."""
    assert standing(Obstacles()).rungs == ADVISORY_ONLY.rungs == (Rung.ADVISORY,)


def test_only_mps_holds_containers_to_their_compute() -> None:
    """Where the driver's limits are the best rung, containers are no clients of MPS."""
    assert [standing.holds_core for standing in (ALL, ON_MPS, ADVISORY_ONLY)] == [False, True, False]
