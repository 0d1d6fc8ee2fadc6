"""Says to which GPUs a pod is charged of which nobody knows on which GPUs it is."""

from extender.contract.units import GpuUuid, UnitMib
from extender.scheduling.nodes.node import NodeInfo, node_without


def charged_gpus(node: NodeInfo, uid: str, unit_mib: UnitMib) -> tuple[GpuUuid, ...]:
    """The GPUs of which more is used because of the pod."""
    without = node_without(node, (uid,), unit_mib=unit_mib)
    return tuple(gpu.uuid for gpu, other in zip(node.gpus, without.gpus, strict=True) if gpu.used > other.used)
