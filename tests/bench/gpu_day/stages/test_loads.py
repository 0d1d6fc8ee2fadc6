"""Servers are loaded together, alike in every mode, and what they say is summed up."""

import pytest

from bench.gpu_day.stages.loads import Served, ServerLoad, all_loads, alone_rate, percent_loads, run_load


def test_a_mode_has_every_load_for_each_number_of_servers() -> None:
    """And one server beside another that fills the GPU, where there are two."""
    found = all_loads((1, 2))
    assert found == (
        ServerLoad(1, "launch"),
        ServerLoad(1, "gpu"),
        ServerLoad(1, "launch", is_steady=True),
        ServerLoad(2, "launch"),
        ServerLoad(2, "gpu"),
        ServerLoad(2, "launch", is_steady=True),
        ServerLoad(1, "launch", is_steady=True, has_neighbour=True),
    )
    assert [load.has_neighbour for load in all_loads((1,))] == [False, False, False]
    assert set(percent_loads(4)) <= set(all_loads((1, 2, 4)))


def test_the_rate_of_a_server_alone_is_that_of_its_first_run() -> None:
    """Back to back; a run that failed or another load says nothing."""
    failed = Served("time-sliced", ServerLoad(1, "launch"), error="no answer")
    other = Served("time-sliced", ServerLoad(1, "gpu"), requests=5, requests_per_s=2.0)
    alone = Served("time-sliced", ServerLoad(1, "launch"), requests=70, requests_per_s=7.0)
    assert alone_rate([failed, other]) is None
    assert (
        alone_rate([failed, other, alone, Served("mps", ServerLoad(1, "launch"), requests=9, requests_per_s=9.0)])
        == 7.0
    )


def test_a_steady_load_needs_the_rate() -> None:
    """It is a share of it."""
    with pytest.raises(ValueError, match="the rate of a server alone"):
        run_load("mps", ServerLoad(1, "launch", is_steady=True), [], 1.0, None)
