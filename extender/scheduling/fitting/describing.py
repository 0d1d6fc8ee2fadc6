"""Describes nodes, GPUs and refusals as JSON, for people and scripts.

Everything returned is made of dicts, lists, strings and numbers, ready for JSON.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from extender.contract.units import UnitMib
from extender.scheduling.fitting.judging import Verdict, judge
from extender.scheduling.fitting.placing import allocation_of
from extender.scheduling.nodes.node import GpuInfo, Hold, Holder, NodeInfo
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy

Json = dict[str, Any]


def describe_nodes(snapshot: Snapshot, *, unit_mib: UnitMib) -> Json:
    """Every node with its GPUs, by name; memory in units of `unitMib`."""
    nodes = [describe_node(snapshot.nodes[name]) for name in sorted(snapshot.nodes)]
    return {"unitMib": unit_mib, "generation": snapshot.generation, "nodes": nodes}


def describe_node(node: NodeInfo) -> Json:
    """One node: its GPUs and which pod holds what on them; `unplaced` are pods whose GPUs are unknown."""
    record = node.record
    return {
        "name": node.name,
        "problem": _problem(node),
        "cpuMilli": {"capacity": record.cpu_milli, "free": node.cpu_free_milli},
        "memoryBytes": {"capacity": record.memory_bytes, "free": node.memory_free_bytes},
        "gpus": [describe_gpu(node, gpu) for gpu in node.gpus],
        "unplaced": [
            _pod(holder) for holder in node.holders if holder.footprint is None and holder.request is not None
        ],
    }


def describe_gpu(node: NodeInfo, gpu: GpuInfo) -> Json:
    """One GPU: capacity, what bound pods have, what is assumed or held for others, what is left.

    What is `claimed` is kept for pods that others are evicted for, in part on what those still have.
    """
    holders = []
    by_state = dict.fromkeys(Hold, 0)
    for holder in node.holders:
        units = _units_on(holder.footprint, gpu)
        if units:
            by_state[holder.hold] += units
            core_percent = holder.footprint.cores.get(gpu.uuid, 0) if holder.footprint else 0
            holders.append({**_pod(holder), "units": units, "corePercent": core_percent, "state": holder.hold.value})
    return {
        "uuid": gpu.uuid,
        "index": gpu.index,
        "place": gpu.place,
        "mig": None if gpu.mig is None else gpu.mig.to_object(),
        "model": gpu.model,
        "healthy": gpu.healthy,
        "reason": gpu.reason,
        "enforcement": gpu.enforcement,
        "capacity": gpu.capacity,
        # Pods whose GPUs are unknown are charged too, but stand under `unplaced`.
        "allocated": gpu.used - by_state[Hold.ASSUMED] - by_state[Hold.HELD],
        "held": by_state[Hold.ASSUMED] + by_state[Hold.HELD],
        "claimed": gpu.claimed,
        "outside": gpu.outside,
        "free": gpu.free,
        "corePercent": {"used": gpu.core_used_percent, "free": gpu.core_free_percent},
        "coreEnforcement": gpu.core_enforcement,
        "whole": gpu.whole,
        "overcommitted": gpu.overcommitted,
        "holders": holders,
    }


def explain_pending(snapshot: Snapshot, request: PodRequest, policy: Policy, *, unit_mib: UnitMib, limit: int) -> Json:
    """For each node why the pod does not fit, with numbers per GPU, or how it would; at most `limit` nodes in full.

    Nodes that fit come first, then those with the largest hole.
    """
    verdicts = [judge(node, request, policy) for node in snapshot.nodes.values()]
    reasons = Counter("fits" if verdict.misfit is None else verdict.misfit.text for verdict in verdicts)

    def order(verdict: Verdict) -> tuple[bool, tuple[float, ...], int, str]:
        node, found = verdict.node, verdict.fit
        return (found is None, found.cost if found else (), -max(node.free, default=0), node.name)

    shown = sorted(verdicts, key=order)[:limit]
    nodes = [_explain_node(verdict, unit_mib) for verdict in shown]
    return {"request": describe_request(request), "reasons": dict(reasons), "nodes": nodes}


def describe_request(request: PodRequest) -> Json:
    """What a pod asks for."""
    return {
        "demands": [
            {"units": each.units, "gpus": each.gpus, "whole": each.whole, "corePercent": each.core_percent}
            for each in request.demands
        ],
        "gpuModel": {"accepted": list(request.models.accepted), "refused": list(request.models.refused)},
        "policy": request.policy,
        "cpuMilli": request.cpu_milli,
        "memoryBytes": request.memory_bytes,
    }


def _explain_node(verdict: Verdict, unit_mib: UnitMib) -> Json:
    node, found = verdict.node, verdict.fit
    gpus = [
        {
            "uuid": gpu.uuid,
            "index": gpu.index,
            "place": gpu.place,
            "model": gpu.model,
            "free": gpu.free,
            "capacity": gpu.capacity,
            "why": why,
        }
        for gpu, why in zip(node.gpus, verdict.gpu_reasons(unit_mib), strict=True)
    ]
    if found is not None:
        chosen = allocation_of(node, verdict.request, found.chosen, unit_mib=unit_mib).containers
        return {"node": node.name, "fits": True, "cost": list(found.cost), "wouldGet": chosen, "gpus": gpus}
    text = verdict.misfit.text if verdict.misfit is not None else ""
    return {"node": node.name, "fits": False, "reason": text, "problem": _problem(node), "gpus": gpus}


def _problem(node: NodeInfo) -> str:
    record = node.record
    if record.inventory_error:
        return record.inventory_error
    if record.inventory is None:
        return "no inventory"
    if not node.unit_matches:
        return f"device plugin uses units of {record.inventory.unit_mib} MiB"
    if not (record.memory_units or record.whole_gpus or node.all_unhealthy):
        return "device plugin is not serving"
    return ""


def _units_on(footprint: Footprint | None, gpu: GpuInfo) -> int:
    if footprint is None:
        return 0
    return gpu.capacity if gpu.uuid in footprint.whole else footprint.shares.get(gpu.uuid, 0)


def _pod(holder: Holder) -> Json:
    return {"namespace": holder.namespace, "name": holder.name, "uid": holder.uid}


def gpus_of(footprint: Footprint, node: NodeInfo | None) -> list[Mapping[str, Any]]:
    """The GPUs that a pod holds, with model, index and place where the node still has them."""
    known = {gpu.uuid: gpu for gpu in node.gpus} if node is not None else {}
    rows: list[Mapping[str, Any]] = []
    for uuid in (*sorted(footprint.whole), *sorted(footprint.shares)):
        gpu = known.get(uuid)
        rows.append(
            {
                "uuid": uuid,
                "index": gpu.index if gpu else None,
                "place": gpu.place if gpu else None,
                "model": gpu.model if gpu else "",
                "whole": uuid in footprint.whole,
                "units": footprint.shares.get(uuid, gpu.capacity if gpu else 0),
            }
        )
    return rows
