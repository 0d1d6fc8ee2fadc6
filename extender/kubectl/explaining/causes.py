"""Why a pod waits, as one word for scripts and one sentence for people; the order is how little is missing."""

from enum import Enum

from extender.kubectl.cluster.components import plugins_of, state_of
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.output.gpu_rows import cordoned_on
from extender.kubectl.output.texts import of_units
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest


class Cause(Enum):
    """A cause; its value is for scripts, `text` for people.

    Of several causes on several nodes the earliest here is named first: less is missing there.
    """

    FITS = "fits"
    TAINT = "taint"
    NODE_CORDONED = "node-cordoned"
    NODE_SELECTOR = "node-selector"
    NODE_AFFINITY = "node-affinity"
    HOST_CPU = "cpu"
    HOST_MEMORY = "memory"
    GPU_CORDONED = "gpu-cordoned"
    NO_PLUGIN = "no-plugin"
    UNIT_MISMATCH = "unit-mismatch"
    UNHEALTHY = "unhealthy"
    OUTSIDE = "outside"
    FRAGMENTED = "fragmented"
    NO_CORE = "no-core"
    FULL = "full"
    NOT_IDLE = "not-idle"
    MODEL = "model"
    TOO_FEW_GPUS = "too-few-gpus"
    TOO_LARGE = "too-large"
    NO_GPUS = "no-gpus"

    BAD_REQUEST = "bad-request"
    GATED = "gated"
    QUOTA = "quota"
    NOT_CREATED = "not-created"
    NO_PODS = "no-pods"
    STALE_VIEW = "stale-view"
    NO_EXTENDER = "no-extender"
    HELD = "held"
    BINDING = "binding"
    PREEMPTING = "preempting"
    NOT_SEEN = "not-seen"
    SCHEDULER = "scheduler"
    RETRY = "retry"

    @property
    def text(self) -> str:
        """The sentence."""
        return _TEXTS[self]

    @property
    def rank(self) -> int:
        """Place in the order."""
        return _RANKS[self]


_TEXTS = {
    Cause.FITS: "it fits",
    Cause.TAINT: "there is room, but the pod does not tolerate a taint of the node",
    Cause.NODE_CORDONED: "there is room, but the node is cordoned",
    Cause.NODE_SELECTOR: "there is room, but the pod's nodeSelector excludes the node",
    Cause.NODE_AFFINITY: "there is room, but the pod's node affinity excludes the node",
    Cause.HOST_CPU: "there is room on a GPU, but not enough CPU on the node",
    Cause.HOST_MEMORY: "there is room on a GPU, but not enough memory on the node",
    Cause.GPU_CORDONED: "there would be room on a GPU that is cordoned",
    Cause.NO_PLUGIN: "the node has GPUs, but its gpupack device plugin is not serving",
    Cause.UNIT_MISMATCH: "the node's device plugin uses another memory unit than the scheduler extender",
    Cause.UNHEALTHY: "there would be room on a GPU that is unhealthy",
    Cause.OUTSIDE: "GPU memory is in use outside of Kubernetes or by pods without a request",
    Cause.FRAGMENTED: "GPU memory is free but split over several GPUs",
    Cause.NO_CORE: "GPU memory is free but not enough compute (gpu-core) on the same GPU",
    Cause.FULL: "not enough free GPU memory",
    Cause.NOT_IDLE: "no idle GPU for a whole-GPU request",
    Cause.MODEL: "no GPU of the requested model",
    Cause.TOO_FEW_GPUS: "fewer GPUs than requested",
    Cause.TOO_LARGE: "request is larger than the GPUs of the node",
    Cause.NO_GPUS: "the node has no GPUs",
    Cause.BAD_REQUEST: "what the pod asks for has no meaning",
    Cause.GATED: "the pod has scheduling gates",
    Cause.QUOTA: "the namespace's quota does not allow another pod",
    Cause.NOT_CREATED: "its pods cannot be created",
    Cause.NO_PODS: "it has no pods, and nobody reports why",
    Cause.STALE_VIEW: "the scheduler extender has no fresh view of the cluster and refuses to promise anything",
    Cause.NO_EXTENDER: "the scheduler extender does not answer kube-scheduler",
    Cause.HELD: "the room is held for other pods that are being bound",
    Cause.BINDING: "room is held for it; it is being bound",
    Cause.PREEMPTING: "pods are being evicted for it",
    Cause.NOT_SEEN: "no scheduler has looked at it yet",
    Cause.SCHEDULER: "kube-scheduler keeps it from the nodes where it would fit, by a rule of its own",
    Cause.RETRY: "it fits now; kube-scheduler has not tried again yet",
}
_RANKS = {cause: rank for rank, cause in enumerate(Cause)}


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
