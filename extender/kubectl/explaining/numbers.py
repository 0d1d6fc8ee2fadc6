"""Puts a cause on a node into numbers and names, and says what would help there."""

from extender.contract.cordon import BY_HAND, names_of
from extender.kubectl.cluster.components import plugins_of, state_of
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.output.gpu_rows import cordons_on
from extender.kubectl.output.texts import counted, of_units
from extender.scheduling.fitting.reasons import shortage
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.models import ANY_MODEL
from extender.scheduling.pods.request import PodRequest


def numbers_of(cause: Cause, view: ClusterView, request: PodRequest, info: NodeInfo) -> tuple[str, str]:
    """The cause on this node in numbers and names, and what would help; empty where nothing simple would."""
    match cause:
        case Cause.GPU_CORDONED:
            written = cordons_on(view, info.name)
            named = [(gpu, names) for gpu in info.gpus if (names := written.intersection(names_of(gpu.uuid, gpu.mig)))]
            places = [f"{info.name}/{gpu.place}" for gpu, _ in named]
            words = [
                f"{info.name}/{gpu.place}" if name == gpu.uuid else name
                for gpu, names in named
                for name in sorted(names)
            ]
            return f"cordoned by hand: {', '.join(places)}", (
                f"kubectl gpupack uncordon {' '.join(dict.fromkeys(words))}"
            )
        case Cause.UNHEALTHY:
            out = [gpu for gpu in info.gpus if not gpu.healthy]
            ill = [gpu for gpu in out if gpu.reason != BY_HAND] or out
            what = "; ".join(f"GPU {gpu.place}: {gpu.reason or 'unhealthy'}" for gpu in ill)
            return what, f"repair or replace the GPU; {info.name} offers it again by itself once it is healthy"
        case Cause.OUTSIDE:
            used = [f"GPU {gpu.place}: {of_units(gpu.outside, view.unit_mib)}" for gpu in info.gpus if gpu.outside]
            return f"in use by what holds no memory there: {', '.join(used)}", (
                f"end what uses the GPUs of {info.name} outside of Kubernetes (nvidia-smi there lists the processes)"
            )
        case Cause.UNIT_MISMATCH:
            there = info.record.inventory.unit_mib if info.record.inventory is not None else None
            return (
                f"units of {there} MiB there, {view.unit_mib} MiB in the installation ({view.unit_from})",
                f"start the device plugin of {info.name} with --memory-unit-mib={view.unit_mib}",
            )
        case Cause.NO_PLUGIN:
            return _plugin(view, request, info)
    return _sizes(cause, view, request, info), ""


def _plugin(view: ClusterView, request: PodRequest, info: NodeInfo) -> tuple[str, str]:
    record, names = info.record, view.names
    if record.inventory_error:
        what = f"its inventory can't be read: {record.inventory_error}"
    elif record.inventory is None:
        what = f"no annotation {names.inventory_annotation}"
    elif not record.memory_units:
        what = f"its kubelet offers no {names.memory_resource}"
    else:
        what = f"its kubelet offers no {names.core_resource if request.asks_core else names.gpu_resource}"
    for pod in plugins_of(view.pods.values()):
        if pod.spec.node_name == info.name:
            advice = f"look at its log: kubectl -n {pod.metadata.namespace} logs {pod.metadata.name}"
            return f"{what}; its device plugin {pod.path} is {state_of(pod)}", advice
    labels = (view.nodes[info.name].metadata.labels if info.name in view.nodes else None) or {}
    label = f"{names.prefix}/gpu"
    advice = "start the device plugin there (kubectl gpupack doctor checks further)"
    if label not in labels:
        advice = f"kubectl label node {info.name} {label}=true, unless a device plugin pod starts there by itself"
    return f"{what}; no device plugin pod is there", advice


def _sizes(cause: Cause, view: ClusterView, request: PodRequest, info: NodeInfo) -> str:
    unit, found = view.unit_mib, shortage(info, request)
    wanted = of_units(found.wanted_units, unit)
    match cause:
        case Cause.FULL | Cause.FRAGMENTED:
            each = f"on each of {found.wanted_gpus} GPUs" if found.wanted_gpus > 1 else "on one GPU"
            hole, total = of_units(found.largest_free_units, unit), of_units(found.free_units, unit)
            return f"{wanted} wanted {each}; largest free on one GPU: {hole}, in all: {total}"
        case Cause.NO_CORE:
            most = found.largest_free_core_percent
            return f"{found.wanted_core_percent}% of a GPU's compute wanted; at most {most}% free"
        case Cause.NOT_IDLE:
            return f"{found.wanted_whole_gpus} whole GPUs wanted, {found.idle_gpus} of {found.gpus} idle"
        case Cause.MODEL:
            return f"the node has {', '.join(sorted({gpu.model for gpu in info.gpus})) or 'no GPU'}"
        case Cause.TOO_FEW_GPUS | Cause.MIG_NOT_NAMED | Cause.MIG_NOT_COMBINED:
            gpus = max(found.wanted_gpus, found.wanted_whole_gpus)
            if found.slices and not found.gpus:
                model = "" if request.models == ANY_MODEL else " of that model"
                return f"{counted(gpus, 'GPU')} wanted; the node has only MIG devices{model}"
            beside = f", and {counted(found.slices, 'MIG device')}" if found.slices else ""
            return f"{counted(gpus, 'GPU')} wanted; the node has {found.gpus} that the pod accepts{beside}"
        case Cause.TOO_LARGE:
            if len(request.demands) > 1 and found.wanted_units <= found.capacity_units:
                return "what its containers want one by one would fit, not all of it together"
            return f"{wanted} wanted, the node's largest GPU has {of_units(found.capacity_units, unit)}"
    return ""
