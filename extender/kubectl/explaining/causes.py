"""Lists why a pod waits: a word for scripts and a sentence for people each, ordered by how little is missing."""

from enum import Enum

from extender.scheduling.fitting.reasons import Misfit


class Cause(Enum):
    """A cause; its value is for scripts, `text` for people.

    Of the causes on several nodes the one that comes first here is named: least is missing there.
    """

    FITS = "fits"
    TAINT = "taint"
    NODE_CORDONED = "node-cordoned"
    NODE_SELECTOR = "node-selector"
    NODE_AFFINITY = "node-affinity"
    TOO_MANY_PODS = "pods"
    HOST_CPU = "cpu"
    HOST_MEMORY = "memory"
    GPU_CORDONED = "gpu-cordoned"
    EVICTING = "evicting"
    NO_PLUGIN = "no-plugin"
    UNIT_MISMATCH = "unit-mismatch"
    UNHEALTHY = "unhealthy"
    OUTSIDE = "outside"
    FRAGMENTED = "fragmented"
    NO_CORE = "no-core"
    FULL = "full"
    NOT_IDLE = "not-idle"
    MIG_NOT_NAMED = "mig-not-named"
    MIG_NOT_COMBINED = "mig-not-combined"
    TOO_FEW_GPUS = "too-few-gpus"
    TOO_LARGE = "too-large"
    MODEL = "model"
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


_OF_MISFIT = {
    Misfit.EVICTING: Cause.EVICTING,
    Misfit.NO_PLUGIN: Cause.NO_PLUGIN,
    Misfit.UNIT_MISMATCH: Cause.UNIT_MISMATCH,
    Misfit.UNHEALTHY: Cause.UNHEALTHY,
    Misfit.OUTSIDE: Cause.OUTSIDE,
    Misfit.FRAGMENTED: Cause.FRAGMENTED,
    Misfit.NO_CORE: Cause.NO_CORE,
    Misfit.FULL: Cause.FULL,
    Misfit.NOT_IDLE: Cause.NOT_IDLE,
    Misfit.NO_MODEL: Cause.MODEL,
    Misfit.MIG_NOT_NAMED: Cause.MIG_NOT_NAMED,
    Misfit.MIG_NOT_COMBINED: Cause.MIG_NOT_COMBINED,
    Misfit.TOO_FEW_GPUS: Cause.TOO_FEW_GPUS,
    Misfit.TOO_LARGE: Cause.TOO_LARGE,
}
_TEXTS = {cause: misfit.text for misfit, cause in _OF_MISFIT.items()} | {
    Cause.FITS: "it fits",
    Cause.TAINT: "there is room, but the pod does not tolerate a taint of the node",
    Cause.NODE_CORDONED: "there is room, but the node is cordoned",
    Cause.NODE_SELECTOR: "there is room, but the pod's nodeSelector excludes the node",
    Cause.NODE_AFFINITY: "there is room, but the pod's node affinity excludes the node",
    Cause.TOO_MANY_PODS: "there is room on a GPU, but the node already runs as many pods as it allows",
    Cause.HOST_CPU: "there is room on a GPU, but not enough CPU on the node",
    Cause.HOST_MEMORY: "there is room on a GPU, but not enough memory on the node",
    Cause.GPU_CORDONED: "there would be room on a GPU that is cordoned",
    Cause.NO_GPUS: "the node has no GPUs",
    Cause.BAD_REQUEST: "the pod's GPU request is invalid",
    Cause.GATED: "the pod has scheduling gates",
    Cause.QUOTA: "the namespace's quota does not allow another pod",
    Cause.NOT_CREATED: "its pods cannot be created",
    Cause.NO_PODS: "it has no pods, and no event or condition says why",
    Cause.STALE_VIEW: "the scheduler extender's view of the cluster is stale, so it refuses every pod",
    Cause.NO_EXTENDER: "the scheduler extender does not answer kube-scheduler",
    Cause.HELD: "the room is held for other pods that are about to be bound",
    Cause.BINDING: "room is held for it; it is about to be bound",
    Cause.PREEMPTING: "pods are being evicted for it",
    Cause.NOT_SEEN: "no scheduler has looked at it yet",
    Cause.SCHEDULER: "kube-scheduler rules out the nodes where it would fit, for a reason of its own",
    Cause.RETRY: "it fits now; kube-scheduler has not tried again yet",
}
_RANKS = {cause: rank for rank, cause in enumerate(Cause)}


def cause_of(misfit: Misfit) -> Cause:
    """The cause that stands for a refusal of the extender; a node without an inventory counts as one without GPUs."""
    return _OF_MISFIT.get(misfit, Cause.NO_GPUS)
