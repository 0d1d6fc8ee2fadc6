"""From what a pod asks of GPUs to how people say it."""

from extender.kubectl.memory_text import UNKNOWN, counted, of_units
from extender.kubectl.view import ClusterView
from extender.scheduling.request import PodRequest


def request_text(request: PodRequest | None, view: ClusterView) -> str:
    """`8Gi`, `2 x 8Gi`, `2 GPUs`, `8Gi + 4Gi`; UNKNOWN of a request without meaning."""
    if request is None:
        return UNKNOWN
    parts = []
    for demand in request.demands:
        if demand.whole:
            parts.append(counted(demand.gpus, "GPU"))
            continue
        core = f" {demand.core_percent}%" if demand.core_percent else ""
        many = f"{demand.gpus} x " if demand.gpus > 1 else ""
        parts.append(f"{many}{of_units(demand.units, view.unit_mib)}{core}")
    return " + ".join(parts)
