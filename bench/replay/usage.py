"""Measures what a cluster serves and costs at one moment: GPUs and nodes in use, dollars, fragmentation."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from bench.replay.deciding.run import Run
from bench.trace.reading import WHOLE_MILLI
from extender.kubectl.cluster.prices import PriceTable
from extender.scheduling.learning.fragmentation import Fragmentation
from extender.scheduling.nodes.node import NodeInfo


@dataclass(frozen=True, slots=True)
class ReplayUsage:
    """One moment of a replay.

    Args:
        allocation_percent: GPU demand of the placed pods, in percent of the cluster's GPUs.
        served_percent: the same in percent of the demand that has arrived and not left.
        nodes_in_use: nodes that host any pod.
        gpus_in_use: GPUs of these nodes, which is what an autoscaler pays for.
        usd_per_hour: their price.
        usd_per_gpu_hour: dollars per GPU of served demand for an hour; None when nothing is served.
        fragmentation_percent: free units that typical pods cannot use, in percent of the cluster's GPUs.
    """

    allocation_percent: float
    served_percent: float
    nodes_in_use: float
    gpus_in_use: float
    usd_per_hour: float
    usd_per_gpu_hour: float | None
    fragmentation_percent: float

    def figures(self) -> dict[str, float | None]:
        """By name, as scripts read them."""
        return asdict(self)


def usage_of(run: Run, prices: PriceTable, fragmentation: Fragmentation, wanted_milli: int) -> ReplayUsage:
    """The cluster of `run` now, when pods that ask for `wanted_milli` thousandths of GPUs would run.

    Raises:
        PriceError: a model in use has no price.
    """
    nodes = run.cluster.nodes
    used = [node for node in nodes if node.holders]
    usd_per_hour = _usd_per_hour(used, prices)
    units = sum(node.capacity for node in nodes)
    fragment = sum(fragmentation.of(node.record.shape, node.free, node.cpu_free_milli) for node in nodes)
    return ReplayUsage(
        allocation_percent=100 * run.placed_milli / run.capacity_milli,
        served_percent=100 * run.placed_milli / wanted_milli if wanted_milli else 100.0,
        nodes_in_use=len(used),
        gpus_in_use=sum(len(node.gpus) for node in used),
        usd_per_hour=usd_per_hour,
        usd_per_gpu_hour=usd_per_hour * WHOLE_MILLI / run.placed_milli if run.placed_milli else None,
        fragmentation_percent=100 * fragment / units,
    )


def _usd_per_hour(nodes: Iterable[NodeInfo], prices: PriceTable) -> float:
    counts: dict[str, int] = {}
    for node in nodes:
        for gpu in node.gpus:
            counts[gpu.model] = counts.get(gpu.model, 0) + 1
    return sum(count * prices.usd_per_hour(model) for model, count in sorted(counts.items()))
