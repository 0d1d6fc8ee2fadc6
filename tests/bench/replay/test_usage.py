"""What a replayed cluster serves and costs at one moment, by hand."""

from datetime import date

import pytest

from bench.replay.deciding.learning import parse_contender
from bench.replay.deciding.mapping import mapping_named
from bench.replay.deciding.run import Run
from bench.replay.usage import ReplayUsage, usage_of
from bench.trace.reading import TraceNode, TracePod
from extender.kubectl.cluster.prices import Price, PriceTable
from extender.scheduling.learning.fragmentation import Fragmentation, TypicalPod
from extender.scheduling.pods.models import ANY_MODEL, parse_models

PRICES = PriceTable(
    tuple(
        Price(models, usd, "made up for tests", date(2026, 1, 1))
        for models, usd in ((parse_models("A100*"), 4.0), (ANY_MODEL, 1.0))
    )
)
NODES = [TraceNode("a", 64_000, 65_536, 2, "A100"), TraceNode("b", 64_000, 65_536, 4, "T4")]


def _usage(*pods: TracePod, wanted_milli: int) -> ReplayUsage:
    run = Run(parse_contender("first-fit"), NODES, [], mapping_named("relative"), seed=1)
    for at, pod in enumerate(pods):
        assert run.arrive(str(at), pod) is not None
    # Typical pods ask for half a GPU: they can use all but what is left of less than that.
    half = run.cluster.nodes[0].record.shape.capacities[0] // 2
    return usage_of(run, PRICES, Fragmentation([TypicalPod(0, half, 1, ANY_MODEL, 1.0)]), wanted_milli)


def test_dollars_are_those_of_the_nodes_in_use_and_divided_by_what_is_served() -> None:
    """1.6 of two GPUs of four dollars are served, of the 2.0 that were wanted and of the six there are."""
    usage = _usage(TracePod("p", 1000, 1024, 1, 800), TracePod("q", 1000, 1024, 1, 800), wanted_milli=2000)
    assert (usage.nodes_in_use, usage.gpus_in_use, usage.usd_per_hour) == (1, 2, 8.0)
    assert usage.usd_per_gpu_hour == pytest.approx(8.0 / 1.6)
    assert usage.allocation_percent == pytest.approx(100 * 1.6 / 6)
    assert usage.served_percent == pytest.approx(80.0)
    assert usage.fragmentation_percent == pytest.approx(100 * 0.4 / 6, abs=0.1)


def test_where_nothing_is_served_a_served_gpu_has_no_price() -> None:
    """And all of nothing is served."""
    usage = _usage(wanted_milli=0)
    assert (usage.nodes_in_use, usage.usd_per_hour, usage.usd_per_gpu_hour) == (0, 0.0, None)
    assert (usage.served_percent, usage.allocation_percent) == (100.0, 0.0)
