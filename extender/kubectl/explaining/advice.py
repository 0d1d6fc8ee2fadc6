"""Finds what would make a waiting pod fit: more GPUs, a smaller request, another model, or a pod that ends."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from extender.contract.mig import says_mig
from extender.contract.units import UnitMib
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.node_verdict import Asker, rules_on
from extender.kubectl.output.texts import counted, listed, natural, of_units
from extender.scheduling.nodes.node import Holder, NodeInfo, node_without
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, RequestError
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request

NODES_TRIED = 40
"""Nodes on which changes are tried: those with the largest holes."""

_COUNTS = range(2, 9)


def advice_for(view: ClusterView, asker: Asker) -> list[str]:
    """What would make the pod fit somewhere, the least change first; empty when nothing found is simple."""
    nodes = [info for info in view.snapshot.nodes.values() if info.gpus and not rules_on(view, asker, info)]
    nodes.sort(key=lambda info: (-max(info.free, default=0), info.name))
    near = nodes[:NODES_TRIED]
    return [
        *_spread(view.unit_mib, asker, near),
        *_smaller(view.unit_mib, asker, near),
        *_mig_device(view, asker, nodes),
        *_other_model(view, asker, nodes),
        *_leaving(view.unit_mib, asker, near),
    ]


def _fits(asker: Asker, request: PodRequest, nodes: Iterable[NodeInfo]) -> list[str]:
    asking = replace(asker, request=request)
    return [info.name for info in nodes if asking.verdict(info).fit is not None]


def _changed(
    asker: Asker, containers: Sequence[ContainerRequest] | None = None, *, gpu_count: int | None = None
) -> PodRequest | None:
    request = asker.request
    try:
        return pod_request(
            tuple(request.containers if containers is None else containers),
            gpu_count=request.gpu_count if gpu_count is None else gpu_count,
            models=request.models,
            policy=request.policy,
            cpu_milli=request.cpu_milli,
            memory_bytes=request.memory_bytes,
        )
    except RequestError:
        return None  # that many GPUs do not divide it


def _spread(unit_mib: UnitMib, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    request = asker.request
    if not request.memory_units or request.whole_gpus:
        return
    for count in _COUNTS:
        if count <= request.gpu_count:
            continue
        spread = _changed(asker, gpu_count=count)
        places = _fits(asker, spread, nodes) if spread is not None else []
        if spread is not None and places:
            each = of_units(max(demand.units for demand in spread.demands), unit_mib)
            yield (
                f'gpu-count: "{count}" ({each} on each of {count} GPUs) fits now on {listed(places)}, '
                "if the program can use several GPUs"
            )
            return


def _smaller(unit_mib: UnitMib, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    """The largest request that would fit now, for pods of one container."""
    request = asker.request
    if len(request.containers) != 1 or not request.memory_units:
        return
    container, step = request.containers[0], request.gpu_count
    low, high, places = 0, container.memory_units // step, list[str]()
    while high - low > 1:
        middle = (low + high) // 2
        asked = _changed(asker, [replace(container, memory_units=middle * step)])
        found = _fits(asker, asked, nodes) if asked is not None else []
        if found:
            low, places = middle, found
        else:
            high = middle
    if low:
        yield f"a request of at most {of_units(low * step, unit_mib)} fits now, on {listed(places)}"


def _mig_device(view: ClusterView, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    """MIG devices that would do as whole GPUs, if the pod named them."""
    wanted = asker.request.models
    if not asker.request.whole_gpus:
        return
    names_mig = any(map(says_mig, wanted.accepted))
    only_if = "if another MIG device would do" if names_mig else "if a MIG device would do as the whole GPU"
    idle = {
        gpu.mig.profile
        for info in nodes
        for gpu in info.gpus
        if gpu.mig is not None and gpu.idle and (names_mig or wanted.match(gpu.model))
    }
    for profile in sorted(idle, key=natural):
        pattern = f"*MIG-{profile}"
        places = _fits(asker, replace(asker.request, models=ModelPatterns((pattern,), wanted.refused)), nodes)
        if places:
            yield f'{only_if}: with {view.names.model_annotation}: "{pattern}" it fits now, on {listed(places)}'


def _other_model(view: ClusterView, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    wanted = asker.request.models
    if wanted == ANY_MODEL:
        return
    gpus = {gpu.model: gpu for info in view.snapshot.nodes.values() for gpu in info.gpus}
    there = sorted(gpus)
    for pattern in wanted.accepted:
        longer = ModelPatterns((f"{pattern}*",), wanted.refused)
        meant = [model for model in there if any(gpus[model].can_serve(longer, one) for one in asker.request.demands)]
        if meant and not any(map(ModelPatterns((pattern,)).match, there)):
            yield f'gpu-model "{pattern}*" would match {listed(meant)}'
    asking = replace(asker, request=replace(asker.request, models=ANY_MODEL))
    fitting = [verdict for info in nodes if (verdict := asking.verdict(info)).fit is not None]
    if fitting:
        places = [verdict.node.name for verdict in fitting]
        models = sorted({gpu.model for verdict in fitting for gpu in verdict.roomy(view.unit_mib)})
        yield (
            f"without the annotation {view.names.model_annotation} it fits on {counted(len(places), 'node')} "
            f"with {listed(models)}"
        )
        return
    if not any(map(wanted.match, there)):
        yield f"the cluster's models are {listed(there, 8)}; {view.names.model_annotation} accepts none of them"


def _leaving(unit_mib: UnitMib, asker: Asker, nodes: Sequence[NodeInfo]) -> Iterator[str]:
    """The smallest pod whose end alone would make room."""
    found: list[tuple[int, str, Holder]] = []
    for info in nodes:
        for holder in info.holders:
            if holder.request is None or holder.footprint is None:
                continue
            if asker.verdict(node_without(info, (holder.uid,), unit_mib=unit_mib)).fit is not None:
                shares = holder.footprint.shares
                whole = [gpu.capacity for gpu in info.gpus if gpu.uuid in holder.footprint.whole]
                found.append((sum(shares.values()) + sum(whole), info.name, holder))
    if not found:
        return
    units, name, holder = min(found, key=lambda each: (each[0], each[1], each[2].namespace, each[2].name))
    more = len(found) - 1
    also = "" if not more else ", or one other pod" if more == 1 else f", or any of {more:,} other pods"
    yield f"there is room when {holder.namespace}/{holder.name} ({of_units(units, unit_mib)} on {name}) ends{also}"
