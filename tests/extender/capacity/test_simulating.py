"""A simulation says what fits, where, how many copies at most, and what ends it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from extender.capacity.cluster import Cluster
from extender.capacity.eligibility import Constraints, NodeTraits, Taint
from extender.capacity.simulating import Simulation, Wanted, simulate
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.request import PodRequest, pod_request
from tests.extender.capacity.clusters import cluster, machine, running, uuid
from tests.extender.scheduling.builders import app, gpu, mig, record, shares, wholes

LLM = Wanted("Deployment/llm", shares(6))


def _run(here: Cluster, *wanted: Wanted, copies: int = 1, most_pods: int = 1000) -> Simulation:
    return simulate(here.packing("binpack"), wanted, copies, most_pods=most_pods)


def test_what_fits_has_a_place_and_more_would_fit() -> None:
    """Two of 6 on each GPU of 16; the fifth has no hole of 6 though 8 are free."""
    found = _run(cluster([machine("n1", 16, 16)]), LLM, copies=3)
    assert (found.fits, found.placed_of(0), found.at_most, found.bounded) == (True, 3, 4, False)
    first = found.placed[0].footprint
    assert first is not None
    assert dict(first.shares) == {uuid("n1", 0): 6}
    assert found.ended_by is not None
    assert (found.ended_by.bottleneck, found.ended_by.free_units, found.ended_by.largest_free_units) == (
        "fragmentation of GPU memory",
        8,
        4,
    )


def test_what_does_not_fit_says_how_many_do() -> None:
    """The copies that fit whole."""
    found = _run(cluster([machine("n1", 16)]), LLM, Wanted("Job/train", shares(4)), copies=3)
    assert (found.fits, found.at_most, found.placed_of(0), found.placed_of(1)) == (False, 1, 2, 1)
    assert {at: why.bottleneck for at, why in found.refused.items()} == {1: "GPU memory", 0: "GPU memory"}


def test_several_pods_of_a_copy_must_all_fit() -> None:
    """Three replicas and two copies are six pods."""
    found = _run(cluster([machine("n1", 16), machine("n2", 16)]), replace(LLM, pods=3), copies=2)
    assert (found.placed_of(0), found.at_most) == (4, 1)


def test_the_search_for_more_ends_somewhere() -> None:
    """And says so."""
    found = _run(cluster([machine("n1", 16)]), Wanted("Job/tiny", shares(1)), copies=2, most_pods=5)
    assert (found.at_most, found.bounded, found.ended_by) == (5, True, None)


def test_nothing_wanted_fits_always() -> None:
    """A Deployment scaled to zero."""
    found = _run(cluster([machine("n1", 16)]), replace(LLM, pods=0), copies=7)
    assert (found.fits, found.at_most, found.placed) == (True, 7, ())


def test_pods_without_gpus_need_cpu_alone() -> None:
    """On a node without GPUs, too."""
    plain = Wanted("Deployment/web", PodRequest((), cpu_milli=3000))
    found = _run(cluster([machine("cpu", cpu=7)]), plain, copies=3)
    assert (found.placed_of(0), found.refused[0].bottleneck) == (2, "CPU of the nodes")


T4 = machine("n1", 16, 16, cpu=8)
CASES = [
    ("GPU memory", [T4], [running("a", "n1", 14), running("b", "n1", 14, gpu=1)], LLM),
    ("fragmentation of GPU memory", [T4], [running("a", "n1", 12), running("b", "n1", 12, gpu=1)], LLM),
    ("size of the GPUs", [T4], [], Wanted("x", shares(17))),
    ("GPU model", [T4], [], Wanted("x", shares(4, models="A100*"))),
    ("GPUs per node", [T4], [], Wanted("x", wholes(3))),
    ("idle whole GPUs", [T4], [running("a", "n1", 1), running("b", "n1", 1, gpu=1)], Wanted("x", wholes(1))),
    ("CPU of the nodes", [T4], [running("a", "n1", 1, cpu=7)], Wanted("x", pod_request((app(1),), cpu_milli=2000))),
    ("nodes with GPUs", [machine("n1")], [], LLM),
    ("nodes", [], [], LLM),
]


@pytest.mark.parametrize(("bottleneck", "nodes", "pods", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_the_bottleneck_has_a_name(bottleneck: str, nodes: list[NodeRecord], pods: list, wanted: Wanted) -> None:  # type: ignore[type-arg]
    """What would have to change."""
    found = _run(cluster(nodes, pods), wanted)
    assert found.refused[0].bottleneck == bottleneck


@pytest.mark.parametrize(
    ("bottleneck", "traits"),
    [
        ("taints", NodeTraits("n1", taints=(Taint("gpu"),))),
        ("cordoned nodes", NodeTraits("n1", unschedulable=True)),
        ("node selector or affinity", NodeTraits("n1", {"zone": "b"})),
        ("pods per node", NodeTraits("n1", {"zone": "a"}, most_pods=0)),
    ],
)
def test_what_the_node_says_of_itself_can_be_the_bottleneck(bottleneck: str, traits: NodeTraits) -> None:
    """A node that could host the pod tells more than one that never will, such as the full one in zone a."""
    wanted = replace(LLM, constraints=Constraints((("zone", "a"),)))
    found = _run(cluster([machine("n1", 16)], node_traits=[traits]), wanted)
    assert found.refused[0].bottleneck == bottleneck


def test_a_full_node_that_could_host_the_pod_outweighs_many_that_could_not() -> None:
    """Another model on ten nodes does not hide that the one with the right model is full."""
    nodes = [machine("right", 16, model="A100"), *(machine(f"other-{at}", 16) for at in range(10))]
    found = _run(cluster(nodes, [running("a", "right", 12)]), Wanted("x", shares(6, models="A100")))
    assert found.refused[0].bottleneck == "GPU memory"
    assert found.refused[0].nodes == {"no GPU of the requested model": 10, "not enough free GPU memory": 1}


@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=3), st.integers(1, 4), st.lists(st.integers(1, 16), max_size=4)
)
def test_at_most_is_what_fits_and_one_more_is_not(sizes: list[int], copies: int, taken: list[int]) -> None:
    """Asking for as many as fit at most fits; asking for one more does not."""
    nodes = [machine(f"n{at}", 16) for at in range(4)]
    here = cluster(nodes, [running(f"p{at}", f"n{at}", units) for at, units in enumerate(taken)])
    wanted = [Wanted(f"w{at}", shares(units)) for at, units in enumerate(sizes)]
    most = _run(here, *wanted, copies=copies).at_most
    if most:
        assert _run(here, *wanted, copies=most).fits
    assert not _run(here, *wanted, copies=most + 1).fits


def test_memory_that_is_free_in_pieces_on_several_nodes_is_fragmentation() -> None:
    """Each node by itself is full; together they have more than the pod asks for."""
    here = cluster([machine("n1", 16), machine("n2", 16)], [running("a", "n1", 12), running("b", "n2", 12)])
    found = _run(here, LLM)
    assert found.ended_by is not None
    assert (found.ended_by.bottleneck, dict(found.ended_by.nodes)) == (
        "fragmentation of GPU memory",
        {"not enough free GPU memory": 2},
    )


def test_memory_that_is_free_in_pieces_on_mig_devices_is_none() -> None:
    """They cannot be combined: nothing but more memory helps."""
    mixed = record("n1", [replace(gpu(0), uuid=uuid("n1", 0)), *(mig(at) for at in range(1, 8))])
    here = cluster([replace(mixed, cpu_milli=64_000, memory_bytes=1 << 39)], [running("a", "n1", 12)])
    why = _run(here, Wanted("Pod/x", shares(12))).refused[0]
    assert (why.bottleneck, why.free_units) == ("GPU memory", 4 + 7 * 9)


def test_the_bottleneck_is_looked_for_where_least_stands_in_the_way() -> None:
    """Three nodes are full and short of CPU; one is only short of memory."""
    nodes = [machine(f"n{at}", 16, cpu=4) for at in range(3)] + [machine("roomy", 16, memory_gib=1)]
    pods = [running(f"p{at}", f"n{at}", 16, cpu=4) for at in range(3)] + [running("q", "roomy", 1)]
    pods[-1] = structs.replace(pods[-1], memory_bytes=1 << 30)
    found = _run(cluster(nodes, pods), Wanted("Pod/x", replace(shares(6), cpu_milli=1000, memory_bytes=1 << 29)))
    assert found.ended_by is not None
    assert found.ended_by.bottleneck == "memory of the nodes"


def test_mig_devices_are_planned_as_they_are_given() -> None:
    """Seven idle ones are no place for a whole GPU nor room that it may use; for a share they are."""
    split = replace(record("n1", [mig(at) for at in range(7)]), cpu_milli=64_000, memory_bytes=1 << 39)
    whole = _run(cluster([split]), Wanted("Job/train", wholes(1)))
    assert (whole.fits, whole.refused[0].bottleneck) == (False, "MIG devices, which the gpu-model does not name")
    assert (whole.refused[0].free_units, whole.refused[0].free_gpus) == (0, 0)
    assert _run(cluster([split]), Wanted("Job/train", wholes(1, models="*MIG*"))).at_most == 7
    assert _run(cluster([split]), LLM).at_most == 7
