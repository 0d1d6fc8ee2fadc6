"""From a cause on one node to its words: what is in the way in names and numbers, and what would help there."""

from extender.kubectl.causes import Cause
from extender.kubectl.components import plugins_of, state_of
from extender.kubectl.gpu_rows import cordoned_on
from extender.kubectl.memory_text import of_units
from extender.kubectl.view import ClusterView
from extender.scheduling.node import NodeInfo
from extender.scheduling.request import PodRequest


def words_of(cause: Cause, view: ClusterView, request: PodRequest, info: NodeInfo) -> tuple[str, str]:
    """The cause on this node in numbers and names, and what would help; empty where nothing simple would."""
    match cause:
        case Cause.GPU_CORDONED:
            cordoned = cordoned_on(view, view.nodes.get(info.name))
            places = [f"{info.name}/{gpu.index}" for gpu in info.gpus if gpu.uuid in cordoned]
            return f"cordoned by hand: {', '.join(places)}", f"kubectl gpupack uncordon {' '.join(places)}"
        case Cause.UNHEALTHY:
            ill = [gpu for gpu in info.gpus if not gpu.healthy]
            what = "; ".join(f"GPU {gpu.index}: {gpu.reason or 'unhealthy'}" for gpu in ill)
            return what, f"mend or replace it; {info.name} offers it again by itself once it is well"
        case Cause.OUTSIDE:
            unit = view.unit_mib
            used = [f"GPU {gpu.index}: {of_units(gpu.outside, unit)}" for gpu in info.gpus if gpu.outside]
            return f"in use by what holds no memory there: {', '.join(used)}", (
                f"end what uses the GPUs of {info.name} beside Kubernetes (nvidia-smi there names the processes)"
            )
        case Cause.UNIT_MISMATCH:
            there = info.record.inventory.unit_mib if info.record.inventory is not None else None
            return (
                f"units of {there} MiB there, {view.unit_mib} MiB in the installation ({view.unit_from})",
                f"start the device plugin of {info.name} with --memory-unit-mib={view.unit_mib}",
            )
        case Cause.NO_PLUGIN:
            return _plugin_words(view, info)
    return _size_words(cause, view, request, info), ""


def _plugin_words(view: ClusterView, info: NodeInfo) -> tuple[str, str]:
    record = info.record
    if record.inventory_error:
        what = f"its inventory can't be read: {record.inventory_error}"
    elif record.inventory is None:
        what = f"no annotation {view.names.inventory_annotation}"
    else:
        what = f"its kubelet offers no {view.names.memory_resource}"
    for pod in plugins_of(view.pods.values()):
        if pod.spec.node_name == info.name:
            advice = f"look at its log: kubectl -n {pod.metadata.namespace} logs {pod.metadata.name}"
            return f"{what}; its device plugin {pod.path} is {state_of(pod)}", advice
    labels = (view.nodes[info.name].metadata.labels if info.name in view.nodes else None) or {}
    label = f"{view.names.prefix}/gpu"
    advice = "start the device plugin there (kubectl gpupack doctor looks further)"
    if label not in labels:
        advice = f"kubectl label node {info.name} {label}=true, if no device plugin pod comes there by itself"
    return f"{what}; no device plugin pod is there", advice


def _size_words(cause: Cause, view: ClusterView, request: PodRequest, info: NodeInfo) -> str:
    unit = view.unit_mib
    accepted = [gpu for gpu in info.gpus if request.models.match(gpu.model)]
    largest = max((demand.units for demand in request.demands), default=0)
    gpus = max((demand.gpus for demand in request.demands), default=0)
    hole = of_units(max((gpu.free for gpu in accepted), default=0), unit)
    match cause:
        case Cause.FULL | Cause.FRAGMENTED:
            each = f" on each of {gpus} GPUs" if gpus > 1 else " on one GPU"
            total = of_units(sum(gpu.free for gpu in accepted), unit)
            return f"{of_units(largest, unit)} wanted{each}; largest hole {hole}, {total} free in all"
        case Cause.NO_CORE:
            most = max((gpu.core_free_percent for gpu in accepted), default=0)
            wanted = max((demand.core_percent for demand in request.demands), default=0)
            return f"{wanted}% of a GPU's compute wanted; at most {most}% free"
        case Cause.NOT_IDLE:
            idle = sum(gpu.idle for gpu in accepted)
            return f"{request.whole_gpus} whole GPUs wanted, {idle} of {len(accepted)} idle"
        case Cause.MODEL:
            return f"it has {', '.join(sorted({gpu.model for gpu in info.gpus})) or 'no GPU'}"
        case Cause.TOO_FEW_GPUS:
            return f"{max(gpus, request.whole_gpus)} GPUs wanted, it has {len(accepted)} that the pod accepts"
        case Cause.TOO_LARGE:
            size = max((gpu.capacity for gpu in accepted), default=0)
            return f"{of_units(largest, unit)} wanted, its largest GPU has {of_units(size, unit)}"
    return ""
