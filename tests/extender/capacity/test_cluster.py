"""The packing of a cluster starts from what is there, with the weights that an extender would learn."""

from dataclasses import fields

from msgspec.structs import replace

from extender.capacity.cluster import learned
from extender.capacity.packing import Packing
from extender.scheduling.learning.estimating import estimate
from extender.scheduling.ledger.events import NodesListed
from extender.server.learning import Learning
from tests.extender.capacity.clusters import cluster, machine, running
from tests.extender.cluster import Cluster as Live
from tests.extender.scheduling.builders import shares


def test_pods_are_where_they_are() -> None:
    """And nodes stand in the order of their names, as ties are broken."""
    packing: Packing = cluster([machine("n2", 16), machine("n1", 16, 16)], [running("a", "n1", 6, gpu=1)]).packing(
        "binpack"
    )
    assert [(node.name, node.free) for node in packing.nodes] == [("n1", (16, 10)), ("n2", (16,))]


def test_the_weights_are_those_of_the_pods_seen() -> None:
    """A size that fills GPUs badly has its price."""
    nodes = [machine("n1", 16, 16)]
    pods = [running("a", "n1", 9), running("b", "n1", 9, gpu=1), running("c", "n1")]
    weights = learned(cluster(nodes, pods))
    alone = estimate({shares(9): 2.0}, {nodes[0].shape: 1})
    assert (weights.holes[16], weights.typical) == (alone.holes[16], alone.typical)


def test_planning_knows_what_an_extender_learns_from_its_first_lists() -> None:
    """Node by node and pod by pod, ended pods among them."""
    nodes = (machine("n1", 16, 16), machine("n2", 24, cpu=8))
    kinds = [running(f"p{at}", "n1", 3 + at % 7, cpu=at % 3) for at in range(40)]
    pods = tuple(replace(pod, resource_version=at + 1, ended=at % 5 == 0) for at, pod in enumerate(kinds))
    live = Live(policy="price-fit-robust")
    live.state.apply(NodesListed(nodes, 1))
    learning = Learning(live.state)
    learning.observe(reversed(pods))
    assert learning.round(force=True)
    planned = learned(cluster(nodes, pods))
    for field in fields(planned):
        assert getattr(planned, field.name) == getattr(learning.weights, field.name), field.name
