"""Places the pods of a cost report in different ways and computes what each way costs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from extender.capacity.case import Case, GpuPod
from extender.capacity.eligibility import Constraints, ineligible
from extender.capacity.packing import Packing
from extender.capacity.physical import cards_by_slice, cost_of, count_of, of_cards, part_of_card, unsplit
from extender.contract.mig import model_of_card
from extender.contract.units import GpuUuid
from extender.scheduling.fitting.judging import judge, nearest
from extender.scheduling.learning.estimating import estimate
from extender.scheduling.ledger.events import PodChanged, PodRecord
from extender.scheduling.nodes.cards import cards_of, is_idle
from extender.scheduling.nodes.node import GpuInfo, Holder, NodeInfo, NodeRecord
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.table import policies_with, policy_named

NO_NODE = "no node that taints, node selector and affinity allow"
NO_HOST_ROOM = "not enough CPU or memory on the nodes"


class Prices(Protocol):
    """What GPUs cost."""

    def usd_per_hour(self, model: str) -> float:
        """Dollars for one GPU of this model for an hour; raises ValueError when unknown."""
        ...


@dataclass(slots=True)
class Bill:
    """What one group of pods asks for and pays."""

    pods: int = 0
    gpus: float = 0.0
    usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """The cluster under one way of placing its pods.

    Args:
        label: which way.
        nodes_in_use: nodes that host a GPU pod.
        gpus_in_use: their physical GPUs.
        usd_per_hour: the price of these.
        pods: GPU pods placed.
        unplaced: GPU pods that fit nowhere.
        held_gpus: what placed pods hold, in GPUs.
        idle_gpus: physical GPUs of nodes in use of which no pod holds any part.
        fragmented_gpus: what is free on GPUs of which a pod holds a part, in GPUs.
        stranded_gpus: what is free on nodes in use beyond what their free CPU could feed, in GPUs.
        namespaces: bill of each namespace: what its pods hold, at the price of the GPU.
        workloads: bill of each workload class.
        nodes: names of the nodes in use.
        left_out: why pods of `unplaced` fit nowhere, and how many; nothing of pods as they are.
    """

    label: str
    nodes_in_use: int
    gpus_in_use: int
    usd_per_hour: float
    pods: int
    unplaced: int
    held_gpus: float
    idle_gpus: int
    fragmented_gpus: float
    stranded_gpus: float
    namespaces: Mapping[str, Bill] = field(default_factory=dict)
    workloads: Mapping[str, Bill] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()
    left_out: Mapping[str, int] = field(default_factory=dict)


def as_it_is(case: Case, prices: Prices) -> Scenario:
    """The pods where they run now."""
    cluster = _cluster(case, "binpack")
    for at, pod in enumerate(case.pods):
        if pod.node:
            _bind(cluster, str(at), pod)
    return _scenario("as it is", case, cluster, prices)


def packed(case: Case, label: str, policy: str, prices: Prices, *, whole: bool = False) -> Scenario:
    """All pods placed again by a policy, with `whole` on whole GPUs; among equal nodes the cheapest comes first.

    With `whole`, no GPU is split into MIG devices.
    """
    nodes = map(unsplit, case.nodes) if whole else case.nodes
    cheapest = sorted(nodes, key=lambda record: (_usd_per_gpu(record, prices), record.name))
    cluster = _cluster(replace(case, nodes=tuple(cheapest)), policy)
    by_slice = cards_by_slice(case.nodes)
    left: Counter[tuple[PodRequest, Constraints]] = Counter()
    for at, pod in enumerate(case.pods):
        request = whole_of(pod.request, by_slice) if whole else pod.request
        if cluster.place(str(at), request, pod.constraints) is None:
            left[request, pod.constraints] += 1
    return replace(_scenario(label, case, cluster, prices), left_out=_reasons(cluster, left))


def _reasons(cluster: Packing, left: Mapping[tuple[PodRequest, Constraints], int]) -> dict[str, int]:
    """Why so many pods of each kind fit nowhere, by the node where least is missing."""
    found: Counter[str] = Counter()
    for (request, constraints), pods in left.items():
        policy = cluster.policy_of(request)
        verdicts = [
            judge(node, request, policy)
            for node in cluster.nodes
            if ineligible(constraints, cluster.traits(node.name)) is None
        ]
        closest = nearest(verdict.misfit for verdict in verdicts if verdict.misfit is not None)
        if not verdicts:
            text = NO_NODE
        elif closest is None or any(verdict.misfit is None for verdict in verdicts):
            text = NO_HOST_ROOM
        else:
            text = closest.text
        found[text] += pods
    return dict(found.most_common())


def whole_of(request: PodRequest, by_slice: Mapping[str, str]) -> PodRequest:
    """The same pod with whole GPUs in place of shares and of MIG devices, whose GPUs are told by `by_slice`."""
    gpus = max((demand.gpus for demand in request.demands if not demand.whole), default=0) + request.whole_gpus
    return pod_request(
        (ContainerRequest("main", gpus=gpus),),
        models=of_cards(request.models, by_slice),
        cpu_milli=request.cpu_milli,
        memory_bytes=request.memory_bytes,
    )


def _usd_per_gpu(record: NodeRecord, prices: Prices) -> float:
    return cost_of(record, prices.usd_per_hour) / max(1, count_of(record))


def _cluster(case: Case, policy: str) -> Packing:
    shapes = Counter(record.shape for record in case.nodes)
    weights = estimate(Counter(pod.request for pod in case.pods), shapes)
    chosen = policy_named(policy, policies_with(weights))
    cluster = Packing(case.nodes, chosen, unit_mib=case.unit_mib, traits=case.traits)
    for node, (cpu_milli, memory_bytes) in case.taken.items():
        others = PodRecord(
            uid=f"others-{node}", resource_version=1, node=node, cpu_milli=cpu_milli, memory_bytes=memory_bytes
        )
        cluster.ledger.apply(PodChanged(others))
    return cluster


def _bind(cluster: Packing, uid: str, pod: GpuPod) -> None:
    cluster.ledger.apply(
        PodChanged(
            PodRecord(
                uid=uid,
                resource_version=1,
                node=pod.node,
                request=pod.asked,
                footprint=pod.footprint,
                cpu_milli=pod.asked.cpu_milli,
                memory_bytes=pod.asked.memory_bytes,
            )
        )
    )


def _scenario(label: str, case: Case, cluster: Packing, prices: Prices) -> Scenario:
    used = [node for node in cluster.nodes if any(holder.request is not None for holder in node.holders)]
    cpu_per_gpu = _cpu_per_gpu(case)
    namespaces: dict[str, Bill] = {}
    workloads: dict[str, Bill] = {}
    for node in used:
        for holder in node.holders:
            if holder.request is None:
                continue
            pod = case.pods[int(holder.uid)]
            gpus, usd = _held(node, holder, prices)
            for bills, key in ((namespaces, pod.namespace), (workloads, pod.workload)):
                bill = bills.setdefault(key, Bill())
                bill.pods, bill.gpus, bill.usd_per_hour = bill.pods + 1, bill.gpus + gpus, bill.usd_per_hour + usd
    placed = sum(bill.pods for bill in namespaces.values())
    return Scenario(
        label=label,
        nodes_in_use=len(used),
        gpus_in_use=sum(count_of(node.record) for node in used),
        usd_per_hour=sum(cost_of(node.record, prices.usd_per_hour) for node in used),
        pods=placed,
        unplaced=len(case.pods) - placed,
        held_gpus=sum(bill.gpus for bill in namespaces.values()),
        idle_gpus=sum(is_idle(card) for node in used for card in cards_of(node)),
        fragmented_gpus=sum(_free(card) for node in used for card in cards_of(node) if any(part.used for part in card)),
        stranded_gpus=sum(_stranded(node, cpu_per_gpu) for node in used),
        namespaces=namespaces,
        workloads=workloads,
        nodes=frozenset(node.name for node in used),
    )


def _held(node: NodeInfo, holder: Holder, prices: Prices) -> tuple[float, float]:
    """What a holder has of this node's GPUs, in GPUs and in dollars an hour; a MIG device is a part of its GPU.

    Where it is unknown which GPUs they are, they count as average ones of those that can serve the pod.
    """
    footprint = holder.footprint
    if footprint is not None:
        parts = {
            gpu.uuid: 1.0 if gpu.uuid in footprint.whole else footprint.shares.get(gpu.uuid, 0) / max(1, gpu.capacity)
            for gpu in node.gpus
        }
    else:
        parts = _average_parts(node, holder.request)
    gpus = usd = 0.0
    for gpu in node.gpus:
        part = parts.get(gpu.uuid, 0.0) * part_of_card(gpu)
        gpus, usd = gpus + part, usd + part * prices.usd_per_hour(model_of_card(gpu.model, gpu.mig))
    return (gpus, usd)


def _average_parts(node: NodeInfo, request: PodRequest | None) -> dict[GpuUuid, float]:
    """Of each GPU as much as of the others that can serve a demand; of all where none can."""
    parts: dict[GpuUuid, float] = {}
    if request is None or not node.gpus:
        return parts
    for demand in request.demands:
        serving = [gpu for gpu in node.gpus if gpu.can_serve(request.models, demand)] or list(node.gpus)
        units = max(1, sum(gpu.capacity for gpu in serving))
        each = demand.gpus / len(serving) if demand.whole else demand.units * demand.gpus / units
        for gpu in serving:
            parts[gpu.uuid] = parts.get(gpu.uuid, 0.0) + each
    return parts


def _cpu_per_gpu(case: Case) -> float:
    """Thousandths of a core that go with a GPU, by what the pods ask for; 0 where no GPU has a unit of memory."""
    inventories = [record.inventory for record in case.nodes if record.inventory is not None]
    sizes = [
        (units, part_of_card(gpu))
        for inventory in inventories
        for gpu in inventory.gpus
        if (units := inventory.units_of(gpu))
    ]
    if not sizes:
        return 0.0
    mean = sum(units for units, _ in sizes) / sum(part for _, part in sizes)
    gpus = sum(pod.request.whole_gpus + pod.request.memory_units / mean for pod in case.pods)
    return sum(pod.request.cpu_milli for pod in case.pods) / gpus if gpus else 0.0


def _stranded(node: NodeInfo, cpu_per_gpu: float) -> float:
    free = _free(node.gpus)
    return max(0.0, free - node.cpu_free_milli / cpu_per_gpu) if cpu_per_gpu else 0.0


def _free(gpus: Iterable[GpuInfo]) -> float:
    """What is free on them, in GPUs."""
    return sum(gpu.free / gpu.capacity * part_of_card(gpu) for gpu in gpus if gpu.capacity)


def drainable(before: Scenario, after: Scenario) -> int:
    """Nodes that would no longer host a GPU pod; 0 where the second leaves more pods out."""
    return max(0, before.nodes_in_use - after.nodes_in_use) if after.unplaced <= before.unplaced else 0


def scenarios_of(case: Case, prices: Prices, policy: str) -> list[Scenario]:
    """As it is where pods run, then on whole GPUs, behind gpushare's binpack, and packed by `policy`.

    Raises:
        RequestError: no policy of that name.
    """
    now = [as_it_is(case, prices)] if case.placed else []
    return [
        *now,
        packed(case, "whole GPUs", "exclusive", prices, whole=True),
        packed(case, "gpushare", "gpushare", prices),
        packed(case, "gpupack", policy, prices),
    ]
