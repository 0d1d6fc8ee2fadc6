"""Computes how sought-after each shape of node is, from the demand per kind of pod.

Pods that only few shapes can host press on those; a shape that could be filled many times over by pods that have
nowhere else to go should not be spent on pods that have.
"""

from collections.abc import Callable, Mapping
from math import sqrt

from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.request import Demand, PodRequest
from extender.scheduling.pods.serving import can_serve

_ROUNDS = 60
_GIB = 1 << 30
_LEAST = 1e-9


def abundance(
    demand: Mapping[PodRequest, float],
    shapes: Mapping[NodeShape, int],
    *,
    reference_units: float,
    pause: Callable[[], object] = lambda: None,
) -> dict[NodeShape, float]:
    """Per shape, its pull theta on demand when every shape is loaded alike; the mean is 1, scarce shapes are near 0.

    Each kind of pod is spread over the shapes whose empty node can host it, in proportion to capacity x theta; then
    theta is multiplied by (load / capacity) ** -0.5; 60 rounds, with the demand scaled to the capacity.

    Args:
        demand: weight per kind of pod.
        shapes: nodes of each shape.
        reference_units: what a whole GPU counts as in the demand.
        pause: called again and again meanwhile, so that the caller can let others work; changes nothing.
    """
    capacity = {shape: float(count * shape.units) for shape, count in shapes.items() if count and shape.units}
    total = sum(capacity.values())
    loads: dict[tuple[NodeShape, ...], float] = {}
    for request, weight in demand.items():
        pause()
        units = request.memory_units + request.whole_gpus * reference_units
        hosts = tuple(shape for shape in capacity if hosts_request(shape, request))
        if hosts and units:
            loads[hosts] = loads.get(hosts, 0.0) + weight * units
    theta = dict.fromkeys(capacity, 1.0)
    asked = sum(loads.values())
    if not asked:
        return theta
    for _ in range(_ROUNDS):
        pause()
        load = dict.fromkeys(capacity, 0.0)
        for hosts, units in loads.items():
            pull = [capacity[shape] * theta[shape] for shape in hosts]
            scale = units * total / asked / sum(pull)
            for shape, part in zip(hosts, pull, strict=True):
                load[shape] += scale * part
        for shape, units in capacity.items():
            theta[shape] /= sqrt(max(_LEAST, load[shape] / units))
        mean = sum(capacity[shape] * value for shape, value in theta.items()) / total
        theta = {shape: max(_LEAST, value / mean) for shape, value in theta.items()}
    return theta


def hosts_request(shape: NodeShape, request: PodRequest) -> bool:
    """Whether an empty node of this shape has room for the pod, each of its demands taken alone."""
    if request.cpu_milli > 1000 * shape.cpu_cores or request.memory_bytes > (shape.memory_gib + 0.5) * _GIB:
        return False
    sizes = [units for model, units in shape.gpus if units and request.models.match(model)]
    return len(sizes) >= request.whole_gpus and all(
        sum(units >= max(1, demand.units) for units in (_serving(shape, request, demand) if shape.slices else sizes))
        >= demand.gpus
        for demand in request.demands
    )


def _serving(shape: NodeShape, request: PodRequest, demand: Demand) -> list[int]:
    """Units of the GPUs that can serve the demand, on a node with MIG devices."""
    return [
        units
        for model, units, is_slice in shape.kinds()
        if units and can_serve(request.models, model, is_slice=is_slice, whole=demand.whole, gpus=demand.gpus)
    ]
