"""FGD's fragmentation: the tables for uniform nodes say what the formula says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.scheduling.learning.fragmentation import Fragmentation, TypicalPod, fragment
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.models import ANY_MODEL, parse_models

TYPICAL = (
    TypicalPod(4000, 0, 0, ANY_MODEL, 0.1),
    TypicalPod(4000, 5, 1, ANY_MODEL, 0.4),
    TypicalPod(8000, 8, 1, parse_models("T4"), 0.2),
    TypicalPod(8000, 0, 1, ANY_MODEL, 0.2),
    TypicalPod(16000, 0, 2, ANY_MODEL, 0.1),
)
T4S = NodeShape((("T4", 10),) * 4, 64, 256)
MIXED = NodeShape((("T4", 10), ("A10", 12), ("A10", 12)), 64, 256)


def _by_formula(shape: NodeShape, free: list[int], cpu_milli: int) -> float:
    return sum(pod.share * fragment(pod, shape, free, cpu_milli) for pod in TYPICAL)


@given(free=st.lists(st.integers(0, 10), min_size=4, max_size=4), cpu_milli=st.sampled_from([0, 4000, 9000, 64000]))
def test_tables_agree_with_the_formula(free: list[int], cpu_milli: int) -> None:
    """On a node of equal GPUs."""
    expected = _by_formula(T4S, free, cpu_milli)
    assert Fragmentation(TYPICAL).of(T4S, free, cpu_milli) == pytest.approx(expected)


@given(free=st.lists(st.integers(0, 10), min_size=3, max_size=3), cpu_milli=st.sampled_from([0, 4000, 9000, 64000]))
def test_mixed_nodes_follow_the_formula(free: list[int], cpu_milli: int) -> None:
    """On a node of different GPUs."""
    expected = _by_formula(MIXED, free, cpu_milli)
    assert Fragmentation(TYPICAL).of(MIXED, free, cpu_milli) == pytest.approx(expected)


@given(free=st.lists(st.integers(0, 9), min_size=4, max_size=4), cpu_milli=st.sampled_from([0, 4000, 9000, 64000]))
def test_tables_of_mig_devices_agree_with_the_formula(free: list[int], cpu_milli: int) -> None:
    """On a node of equal ones, and where all but one are."""
    for slices in ((True,) * 4, (False, True, True, True)):
        shape = NodeShape((("A100 MIG 1g.10gb", 9),) * 4, 64, 256, slices)
        assert Fragmentation(TYPICAL).of(shape, free, cpu_milli) == pytest.approx(_by_formula(shape, free, cpu_milli))


def test_a_mig_device_is_of_no_use_to_whole_gpus() -> None:
    """Unless the pod names MIG; of several GPUs never."""
    slices = NodeShape((("A100 MIG 1g.10gb", 9),) * 2, 64, 256, (True, True))
    named = [parse_models("*MIG*"), ANY_MODEL]
    of_one = [fragment(TypicalPod(1000, 0, 1, models, 1.0), slices, [9, 9], 64000) for models in named]
    of_two = [fragment(TypicalPod(1000, 5, 2, models, 1.0), slices, [9, 9], 64000) for models in named]
    assert (of_one, of_two) == ([0, 18], [18, 18])


def test_a_gpu_with_less_than_asked_is_a_fragment() -> None:
    """5 asked: 3 and 2 are useless beside 9."""
    assert fragment(TYPICAL[1], T4S, [3, 2, 9, 0], 64000) == 5


def test_everything_is_a_fragment_where_the_pod_cannot_run() -> None:
    """No CPU, no model, or no GPU asked for."""
    free = [10, 10, 0, 0]
    assert fragment(TYPICAL[1], T4S, free, 1000) == 20
    assert fragment(TYPICAL[2], NodeShape((("A10", 10),) * 4), free, 64000) == 20
    assert fragment(TYPICAL[0], T4S, free, 64000) == 20


def test_a_cluster_without_gpus_has_no_fragments() -> None:
    """Nodes without GPUs are asked about, too."""
    assert Fragmentation(TYPICAL).of(NodeShape(), [], 1000) == 0
