"""The packing of a cluster starts from what is there, with the weights that an extender would learn."""

from extender.capacity.cluster import learned
from extender.capacity.packing import Packing
from extender.scheduling.estimating import estimate
from tests.extender.capacity.clusters import cluster, machine, running
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
