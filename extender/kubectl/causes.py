"""Why a pod waits, as one word for scripts and one sentence for people; the order is how little is missing."""

from enum import Enum


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
