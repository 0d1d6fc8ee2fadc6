"""Expresses chosen GPUs as an Allocation for the annotation and as a Footprint for the ledger."""

from extender.contract.allocation import Allocation
from extender.contract.units import GpuUuid, UnitMib, Units
from extender.scheduling.fitting.choosing import Chosen
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest


def allocation_of(node: NodeInfo, request: PodRequest, chosen: Chosen, *, unit_mib: UnitMib) -> Allocation:
    """The GPUs of each container under a choice, in the contract's form (no policy, no time)."""
    containers: dict[str, dict[GpuUuid, Units]] = {}
    for demand, positions in zip(request.demands, chosen, strict=True):
        for member in demand.members:
            containers[member.container] = {
                node.gpus[at].uuid: Units(node.gpus[at].capacity if demand.whole else member.units)
                for at in positions[member.first : member.first + member.gpus]
            }
    return Allocation(unit_mib, containers)


def footprint_of_choice(node: NodeInfo, request: PodRequest, chosen: Chosen) -> Footprint:
    """What the pod holds under a choice."""
    shares: dict[GpuUuid, int] = {}
    whole: set[GpuUuid] = set()
    cores: dict[GpuUuid, int] = {}
    for demand, positions in zip(request.demands, chosen, strict=True):
        for at in positions:
            uuid = node.gpus[at].uuid
            if demand.whole:
                whole.add(uuid)
            else:
                shares[uuid] = shares.get(uuid, 0) + demand.units
                if demand.core_percent:
                    cores[uuid] = cores.get(uuid, 0) + demand.core_percent
    return Footprint(shares, frozenset(whole), cores)
