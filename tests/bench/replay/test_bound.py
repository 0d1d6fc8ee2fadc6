"""The bound is above what any policy reaches, and it is reached where packing is easy."""

import pytest

from bench.replay.bound import Bound, replay_bound
from bench.replay.deciding.learning import parse_contender
from bench.replay.deciding.mapping import mapping_named, node_record, request_of
from bench.replay.protocols.arriving import Arriving
from bench.trace.reading import TraceNode, TracePod
from extender.scheduling.pods.request import PodRequest
from tests.bench.replay.traces import ignore, setting

RELATIVE = mapping_named("relative")


def _milli(node: TraceNode, pods: list[tuple[TracePod, int]]) -> float:
    kinds: dict[PodRequest, tuple[int, int]] = {
        request_of(pod, RELATIVE): (count, pod.demand_milli) for pod, count in pods
    }
    return Bound([node_record(node, "node", RELATIVE)], kinds).milli()


def test_no_policy_is_above_the_bound() -> None:
    """At no mark."""
    trace = setting(nodes=8, pods=80)
    bound = replay_bound(trace, Arriving(), 1, ignore).allocation_percent
    reached = Arriving().replay(trace, parse_contender("price-fit@list"), 1, ignore).allocation_percent
    assert all(reached[mark] <= bound[mark] + 0.01 for mark in bound)


def test_sizes_that_do_not_fill_a_gpu_bound_it() -> None:
    """Of 600 only one fits on each of two GPUs, beside 300."""
    node = TraceNode("n", 64_000, 65_536, 2, "T4")
    pods = [(TracePod("a", 1000, 1024, 1, 600), 10)]
    assert _milli(node, pods) == pytest.approx(1200, abs=0.1)
    assert _milli(node, [*pods, (TracePod("b", 1000, 1024, 1, 300), 10)]) == pytest.approx(1800, abs=0.1)


def test_cpu_bounds_what_gpus_would_hold() -> None:
    """4 cores for pods of 2 cores each."""
    node = TraceNode("n", 4000, 65_536, 4, "T4")
    assert _milli(node, [(TracePod("a", 2000, 1024, 1, 1000), 4)]) == pytest.approx(2000, abs=0.1)


def test_no_pods_and_no_nodes_have_a_bound() -> None:
    """Nothing can be placed."""
    assert _milli(TraceNode("n", 4000, 65_536, 4, "T4"), []) == 0.0
    assert Bound([], {request_of(TracePod("a", 2000, 1024, 1, 1000), RELATIVE): (1, 1000)}).milli() == 0.0
