"""Reads what planning starts from: what pods ask of their nodes, what nodes allow, and the policy in force."""

from collections.abc import Iterable, Iterator

import click

from extender.capacity.cluster import Cluster, Controller, PodTraits
from extender.capacity.eligibility import Constraints, NodeTraits, SelectorTerm, Taint, Toleration
from extender.contract.expressions import Expression
from extender.contract.names import Names
from extender.contract.quantity import parse_quantity
from extender.contract.units import ContractError
from extender.kube.objects import NodeObject, NodeSelectorRequirement, PodObject, PodObjectSpec, Term
from extender.kubectl.cluster.view import ClusterView
from extender.scheduling.policies.table import DEFAULT_POLICY, POLICIES

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
"""On a static pod's mirror: it goes with its node."""

_HASH_LABEL = "pod-template-hash"
_SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
_CHECKED = ("cpu", "memory")


def cluster_of(view: ClusterView) -> Cluster:
    """The cluster, with what kube-scheduler knows of its nodes and pods."""
    return Cluster(
        unit_mib=view.unit_mib,
        nodes=view.node_records,
        pods=view.pod_records,
        node_traits={name: node_traits(node) for name, node in view.nodes.items()},
        pod_traits={uid: pod_traits(pod, view.names) for uid, pod in view.pods.items()},
    )


def node_traits(node: NodeObject) -> NodeTraits:
    """What a node says of itself besides its resources."""
    return NodeTraits(
        name=node.metadata.name,
        labels=node.metadata.labels or {},
        taints=tuple(Taint(taint.key, taint.value, taint.effect) for taint in node.spec.taints or ()),
        unschedulable=node.spec.unschedulable,
        most_pods=_most_pods(node),
    )


def pod_traits(pod: PodObject, names: Names) -> PodTraits:
    """What is known of a pod besides its record."""
    owner = owner_of(pod)
    mirrored = pod.metadata.annotation(MIRROR_ANNOTATION) is not None
    return PodTraits(
        constraints=constraints_of(pod, names),
        owner=owner,
        with_node=mirrored or (owner is not None and owner.kind in ("DaemonSet", "Node")),
        leaving=pod.metadata.deletion_timestamp is not None,
        pinned=_pinned(pod),
        loses=tuple(_losses(pod, owner)),
        workload=workload_of(pod),
    )


def owner_of(pod: PodObject) -> Controller | None:
    """The controller of a pod; a ReplicaSet's Deployment, where the pod's own labels tell of it."""
    controller = next((owner for owner in pod.metadata.owner_references or () if owner.controller), None)
    if controller is None:
        return None
    hashed = "-" + (pod.metadata.labels or {}).get(_HASH_LABEL, "")
    if controller.kind == "ReplicaSet" and len(hashed) > 1 and controller.name.endswith(hashed):
        return Controller("Deployment", controller.name.removesuffix(hashed))
    return Controller(controller.kind, controller.name)


def workload_of(pod: PodObject) -> str:
    """What kind of work a pod does: its `app` label, else the kind of its owner, else Pod."""
    labels = pod.metadata.labels or {}
    owners = pod.metadata.owner_references or ()
    kind = next((owner.kind for owner in owners if owner.kind), "Pod")
    return labels.get("app.kubernetes.io/name") or labels.get("app") or kind


def constraints_of(pod: PodObject, names: Names) -> Constraints:
    """What a pod asks of its node besides resources."""
    return Constraints(
        selector=tuple(sorted((pod.spec.node_selector or {}).items())),
        terms=terms_of(pod),
        tolerations=tolerations_of(pod),
        unchecked=tuple(_unchecked(pod.spec, names)),
    )


def terms_of(pod: PodObject) -> tuple[SelectorTerm, ...] | None:
    """The terms of the required node affinity, of which one must match; None without any."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required if affinity is not None else None
    return None if required is None else tuple(_term(term) for term in required.node_selector_terms or ())


def tolerations_of(pod: PodObject) -> tuple[Toleration, ...]:
    """The taints that a pod tolerates."""
    return tuple(
        Toleration(one.key, one.operator or "Equal", one.value, one.effect) for one in pod.spec.tolerations or ()
    )


def _term(term: Term) -> SelectorTerm:
    return SelectorTerm(_expressions(term.match_expressions or ()), _expressions(term.match_fields or ()))


def _expressions(requirements: Iterable[NodeSelectorRequirement]) -> tuple[Expression, ...]:
    return tuple(Expression(one.key, one.operator, tuple(one.values or ())) for one in requirements)


def _unchecked(spec: PodObjectSpec, names: Names) -> Iterator[str]:
    """What kube-scheduler looks at and planning does not."""
    affinity = spec.affinity
    if affinity is not None and affinity.pod_affinity is not None and affinity.pod_affinity.required:
        yield "podAffinity"
    if affinity is not None and affinity.pod_anti_affinity is not None and affinity.pod_anti_affinity.required:
        yield "podAntiAffinity"
    if any(one.when_unsatisfiable != "ScheduleAnyway" for one in spec.topology_spread_constraints or ()):
        yield "topologySpreadConstraints"
    if any(one.persistent_volume_claim is not None or one.ephemeral is not None for one in spec.volumes or ()):
        yield "persistent volumes"
    if spec.resource_claims:
        yield "resourceClaims"
    containers = (*spec.containers, *(spec.init_containers or ()))
    if any(port.host_port for container in containers for port in container.ports or ()):
        yield "hostPort"
    known = {*_CHECKED, names.memory_resource, names.gpu_resource, names.core_resource}
    asked = {
        name
        for container in containers
        if container.resources is not None
        for name in (*(container.resources.requests or ()), *(container.resources.limits or ()))
    }
    yield from sorted(asked - known)


def _losses(pod: PodObject, owner: Controller | None) -> Iterator[str]:
    """What a pod would lose if it were recreated."""
    if any(volume.empty_dir is not None for volume in pod.spec.volumes or ()):
        yield "emptyDir volumes"
    if owner is not None and owner.kind.endswith("Job"):  # PyTorchJob, TFJob, RayJob and so on, too
        yield "work since its last checkpoint"


def _pinned(pod: PodObject) -> str:
    if pod.metadata.annotation(_SAFE_TO_EVICT) == "false":
        return f"{_SAFE_TO_EVICT}=false"
    if pod.metadata.annotation(_DO_NOT_DISRUPT) == "true":
        return f"{_DO_NOT_DISRUPT}=true"
    return ""


def _most_pods(node: NodeObject) -> int | None:
    allocatable = node.status.allocatable or {}
    try:
        return parse_quantity(str(allocatable["pods"])) if "pods" in allocatable else None
    except ContractError:
        return None


_FLAG = "--policy="

policy_option = click.option(
    "--policy",
    type=click.Choice(list(POLICIES)),
    default=None,
    envvar="GPUPACK_POLICY",
    help="Packing policy. Default: that of the extender's pod, or the shipped default.",
)


def policy_in_force(view: ClusterView, given: str | None) -> tuple[str, str]:
    """The policy's name, and how it is known."""
    if given:
        return given, "--policy"
    for pod in view.pods.values():
        if (pod.metadata.labels or {}).get("app.kubernetes.io/name") != "gpupack":
            continue
        for container in pod.spec.containers:
            words = [*(container.command or ()), *(container.args or ())]
            named = [word.removeprefix(_FLAG) for word in words if word.startswith(_FLAG)]
            if container.name == "extender" and named and named[-1] in POLICIES:
                return named[-1], f"arguments of pod {pod.path}"
    return DEFAULT_POLICY, "default"
