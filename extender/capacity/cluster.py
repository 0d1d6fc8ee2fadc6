"""Holds the cluster as planning starts from it: nodes and pods, with what kube-scheduler knows of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.capacity.eligibility import ANYWHERE, Constraints, NodeTraits
from extender.capacity.packing import Packing
from extender.contract.units import DEFAULT_UNIT_MIB, UnitMib
from extender.scheduling.learning.estimating import DemandCounter, estimate
from extender.scheduling.learning.weights import Weights
from extender.scheduling.ledger.events import PodRecord, PodsListed
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import policies_with, policy_named


@dataclass(frozen=True, slots=True)
class Controller:
    """The controller that recreates a pod when it is deleted."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class PodTraits:
    """What is known of a pod in addition to its record.

    Args:
        constraints: what it asks of its node.
        owner: its controller; None for a bare pod, which nothing recreates.
        with_node: whether it belongs to its node and goes with it: a DaemonSet's or a static one.
        leaving: whether it is being deleted.
        pinned: the annotation by which somebody forbids to evict it; empty without.
        loses: what it would lose by moving.
        workload: what kind of work it is, for people.
    """

    constraints: Constraints = ANYWHERE
    owner: Controller | None = None
    with_node: bool = False
    leaving: bool = False
    pinned: str = ""
    loses: tuple[str, ...] = ()
    workload: str = ""


UNKNOWN_POD = PodTraits()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes and pods at one moment.

    Args:
        unit_mib: memory unit of the installation.
        nodes: as the ledger has them.
        pods: all that are bound or ask for GPUs.
        node_traits: what nodes say of themselves, by name.
        pod_traits: what is known of pods, by UID.
    """

    unit_mib: UnitMib = DEFAULT_UNIT_MIB
    nodes: tuple[NodeRecord, ...] = ()
    pods: tuple[PodRecord, ...] = ()
    node_traits: Mapping[str, NodeTraits] = field(default_factory=dict)
    pod_traits: Mapping[str, PodTraits] = field(default_factory=dict)

    def traits_of(self, pod: PodRecord) -> PodTraits:
        """What is known of a pod."""
        return self.pod_traits.get(pod.uid, UNKNOWN_POD)

    def policies(self) -> Mapping[str, Policy]:
        """Every policy, with the weights that an extender learns when it starts now."""
        return policies_with(learned(self))

    def packing(self, policy: str) -> Packing:
        """The cluster as it is, to place pods in; nodes in the order in which the extender breaks ties.

        Raises:
            RequestError: no policy of that name.
        """
        policies = self.policies()
        packing = Packing(
            sorted(self.nodes, key=lambda node: node.name),
            policy_named(policy, policies),
            unit_mib=self.unit_mib,
            own=policies,
            traits=self.node_traits,
        )
        newest = max((pod.resource_version for pod in self.pods), default=0)
        packing.ledger.apply(PodsListed(self.pods, newest))
        return packing


def learned(cluster: Cluster) -> Weights:
    """The weights that an extender estimates from its first list of nodes and pods."""
    counter = DemandCounter()
    for pod in sorted(cluster.pods, key=lambda pod: (pod.resource_version, pod.uid)):
        if pod.request is not None and pod.request.demands:
            counter.observe(pod.request)
    return estimate(counter.counts(), Counter(node.shape for node in cluster.nodes))
