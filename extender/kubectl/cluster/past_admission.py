"""Finds what the admission policies would have refused in pods that exist: misspelt names, and other schedulers."""

from extender.contract.misspellings import misspelt_on_node, misspelt_on_pod
from extender.contract.names import Names
from extender.kube.objects import PodObject
from extender.kubectl.cluster.components import extenders_of, options_given
from extender.kubectl.cluster.view import ClusterView
from extender.scheduling.ledger.events import PodRecord

DEFAULT_SCHEDULER = "default-scheduler"
_FLAG, _VARIABLE = "--scheduler-name", "GPUPACK_SCHEDULER_NAME"


def misspelt_names(view: ClusterView, record: PodRecord) -> list[str]:
    """A sentence for each name under the prefix on the pod that nothing reads."""
    return misspelt_names_of(view.names, view.pods[record.uid])


def misspelt_names_of(names: Names, pod: PodObject) -> list[str]:
    """The same of a pod that may not exist yet."""
    containers = [*(pod.spec.init_containers or ()), *pod.spec.containers]
    return misspelt_on_pod(
        names,
        annotations=pod.metadata.annotations or {},
        labels=pod.metadata.labels or {},
        resources={
            each.name: [*(each.resources.limits or {}), *(each.resources.requests or {})]
            for each in containers
            if each.resources is not None
        },
    )


def misspelt_on_nodes(view: ClusterView) -> dict[str, list[str]]:
    """Names of nodes by the sentence for an annotation there that nothing reads."""
    found: dict[str, list[str]] = {}
    for name, node in view.nodes.items():
        for sentence in misspelt_on_node(view.names, node.metadata.annotations or {}):
            found.setdefault(sentence, []).append(name)
    return found


def schedulers(view: ClusterView) -> frozenset[str]:
    """Names of the schedulers that ask gpupack: as the extenders are told, otherwise those of pods that it placed.

    Empty when neither is known.
    """
    told = {
        name
        for pod in extenders_of(view.pods.values())
        for container in pod.spec.containers
        if container.name == "extender"
        for name in options_given(container, _FLAG, _VARIABLE)
    }
    placed = {record.scheduler for record in view.gpu_pods if record.scheduler and _planned(view, record)}
    return frozenset(told or placed)


def bypassing(view: ClusterView) -> list[PodRecord]:
    """Pods that ask for GPUs and that a scheduler which does not ask gpupack has placed, or is to place.

    Empty when it is not known which schedulers do.
    """
    ours = schedulers(view)
    if not ours:
        return []
    return [
        record
        for record in view.gpu_pods
        if not record.ended and scheduler_of(record) not in ours and not _planned(view, record)
    ]


def scheduler_of(record: PodRecord) -> str:
    """The scheduler that the pod asks for."""
    return record.scheduler or DEFAULT_SCHEDULER


def _planned(view: ClusterView, record: PodRecord) -> bool:
    """Whether gpupack wrote its plan on the pod, as it does in the Binding."""
    return bool(record.node) and view.pods[record.uid].metadata.annotation(view.names.allocation_annotation) is not None
