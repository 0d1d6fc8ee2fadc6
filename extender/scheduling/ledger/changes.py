"""Says whether a change of a pod or node counts: for what is charged, and for pods that wait."""

from dataclasses import replace
from operator import gt

from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo, NodeRecord


def charged_alike(known: PodRecord, pod: PodRecord) -> bool:
    """Whether a bound pod that neither had nor has ended is charged as it was: only its status changed."""
    return (
        not (known.ended or pod.ended)
        and known.node == pod.node
        and known.footprint == pod.footprint
        and known.request == pod.request
        and (known.cpu_milli, known.memory_bytes) == (pod.cpu_milli, pod.memory_bytes)
        and (known.namespace, known.name) == (pod.namespace, pod.name)
    )


def differ_in_version_only(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether it is the same node at another time, as after a heartbeat."""
    return one is other or replace(one, resource_version=other.resource_version) == other


def has_more_room(before: NodeInfo | None, after: NodeInfo) -> bool:
    """Whether some pod may fit on the node now that did not fit before."""
    if before is None or not differ_in_version_only(before.record, after.record):
        return True  # new, or its capacity or GPUs changed
    if any(map(gt, after.free, before.free)) or any(map(gt, after.idle, before.idle)):
        return True
    # What an evicted pod leaves is room for the pod that claims it, though it is free for nobody else.
    return bool(before.claims) and any(now.used < was.used for was, now in zip(before.gpus, after.gpus, strict=True))
