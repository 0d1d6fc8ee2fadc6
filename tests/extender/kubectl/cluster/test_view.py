"""A ClusterView counts exactly what the extender's ledger counts, and finds out the installation's unit."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kubectl.cluster.view import view_of
from extender.scheduling.fitting.describing import describe_nodes
from tests.extender.cluster import Cluster
from tests.extender.kubectl.views import NOON, component, on, view
from tests.extender.objects import Json, node, pod, raw, uuid


def with_unit(name: str, unit_mib: int, gpus: int = 1) -> Json:
    """A node whose device plugin counts in this unit."""
    body = node(name, *([16] * gpus))
    inventory = json.loads(body["metadata"]["annotations"]["gpupack.io/inventory"])
    body["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps({**inventory, "unitMib": unit_mib})
    return body


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 1), st.booleans()), max_size=6))
def test_it_shows_the_same_nodes_as_a_running_extender(held: list[tuple[int, int, bool]]) -> None:
    """Made of the same objects, whatever they hold, overcommitted GPUs and pods without an allocation included."""
    nodes = [node("a", 16, 24), node("b", 40)]
    pods = []
    for at, (units, gpu, told) in enumerate(held):
        body = on(f"p{at}", units, uuid("a", gpu), "a", version=at + 1)
        pods.append(body if told else pod(f"p{at}", units, node="a", version=at + 1))
    cluster = Cluster(*nodes)
    for each in pods:
        cluster.show(each)
    seen = view(nodes, pods)
    shown = describe_nodes(seen.snapshot, unit_mib=seen.unit_mib)["nodes"]
    assert shown == describe_nodes(cluster.state.snapshot(), unit_mib=seen.unit_mib)["nodes"]
    assert seen.ledger().snapshot().nodes == seen.snapshot.nodes


@pytest.mark.parametrize(
    "settings",
    [
        {"args": ["--memory-unit-mib=512"]},
        {"command": ["gpupack-extender", "--memory-unit-mib", "512"]},
        {"args": ["--memory-unit-mib=256", "--memory-unit-mib=512"], "env": []},
        {"env": [{"name": "GPUPACK_MEMORY_UNIT_MIB", "value": "512"}]},
    ],
)
def test_the_unit_is_that_of_the_extenders_pod(settings: Json) -> None:
    """What it is started with counts more than what most nodes say; of several flags the last."""
    extender = component("gpupack-scheduler-1", "scheduler")
    extender["spec"]["containers"] = [{"name": "kube-scheduler"}, {"name": "extender", **settings}]
    seen = view([with_unit("a", 1024)], [extender])
    assert (seen.unit_mib, seen.unit_from) == (512, "settings of pod gpupack-system/gpupack-scheduler-1")


def test_else_the_unit_is_that_of_most_gpus() -> None:
    """And that is said, since some nodes will be called wrong by it."""
    seen = view([with_unit("a", 512, gpus=3), with_unit("b", 1024)])
    assert (seen.unit_mib, seen.unit_from) == (512, "inventory of most GPUs")
    assert [node.unit_matches for node in seen.snapshot.nodes.values()] == [True, False]
    assert view([with_unit("a", 256)]).unit_from == "inventories of the nodes"
    assert (view().unit_mib, view().unit_from) == (1024, "default")


def test_a_given_unit_is_taken() -> None:
    """`--memory-unit-mib`."""
    seen = view_of([raw(node("a", 16))], [], names=Names(), taken_at=NOON, unit_mib=UnitMib(256))
    assert (seen.unit_mib, seen.unit_from) == (256, "--memory-unit-mib")


def test_what_cannot_be_read_is_left_out_and_said() -> None:
    """One odd object hides no other."""
    odd = {"metadata": {"name": "odd", "resourceVersion": "x"}, "status": {"allocatable": 5}}
    seen = view([node("a", 16), odd], [pod("fine", 4), {"metadata": {"name": "bad"}, "spec": []}])
    assert list(seen.snapshot.nodes) == ["a"]
    assert [each.name for each in seen.gpu_pods] == ["fine"]
    assert [warning.partition(" is left out")[0] for warning in seen.warnings] == ["odd", "bad"]


def test_pods_that_ask_for_gpus_are_sorted_and_found() -> None:
    """Senseless requests are among them, others are not."""
    senseless = pod("senseless", 4, annotations={"gpu-count": "two"})
    seen = view([node("a", 16)], [pod("b", 4), pod("a", 4), senseless, pod("plain", node="a")])
    assert [each.name for each in seen.gpu_pods] == ["a", "b", "senseless"]
    plain = seen.find("default", "plain")
    assert plain is not None
    assert plain.request is None
    assert seen.find("elsewhere", "a") is None
