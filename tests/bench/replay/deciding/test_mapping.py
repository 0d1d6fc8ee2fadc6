"""Thousandths of GPUs become units of the extender."""

import pytest

from bench.replay.deciding.mapping import mapping_named, node_record, request_of
from bench.trace.reading import TraceError, TraceNode, TracePod
from extender.scheduling.pods.models import ANY_MODEL

POD = TracePod("p", 6000, 12288, 1, 460, ("V100M16", "V100M32"))


def test_relative_units_are_thousandths_of_any_gpu() -> None:
    """A share keeps its number; whole GPUs are held whole."""
    mapping = mapping_named("relative")
    record = node_record(TraceNode("n", 64000, 262144, 2, "P100"), "node-1", mapping)
    assert (record.shape.capacities, record.cpu_milli, record.memory_bytes) == ((1000, 1000), 64000, 256 << 30)
    request = request_of(POD, mapping)
    assert (request.memory_units, request.cpu_milli, request.memory_bytes) == (460, 6000, 12 << 30)
    assert (request.models.match("V100M32"), request.models.match("T4")) == (True, False)
    assert request_of(TracePod("w", 1, 1, 1, 1000), mapping).whole_gpus == 1
    assert request_of(TracePod("c", 1, 1, 0, 0), mapping).demands == ()
    assert request_of(TracePod("c", 1, 1, 0, 0), mapping).models is ANY_MODEL


def test_absolute_units_are_memory_of_a_reference_card() -> None:
    """Half of 16 GiB is a quarter of a card of 32 GiB."""
    mapping = mapping_named("absolute")
    record = node_record(TraceNode("n", 1, 1, 1, "V100M32"), "node-1", mapping)
    assert (record.shape.units, request_of(TracePod("p", 1, 1, 1, 500), mapping).memory_units) == (128, 32)


def test_exclusive_pods_ask_for_whole_gpus() -> None:
    """However little they need."""
    request = request_of(POD, mapping_named("relative"), exclusive=True)
    assert (request.whole_gpus, request.memory_units) == (1, 0)


def test_what_cannot_be_mapped_is_named() -> None:
    """A mapping or a model that nobody knows."""
    with pytest.raises(TraceError, match="mapping 'both': expected relative or absolute"):
        mapping_named("both")
    with pytest.raises(TraceError, match="model 'X9'"):
        node_record(TraceNode("n", 1, 1, 1, "X9"), "node-1", mapping_named("absolute"))
