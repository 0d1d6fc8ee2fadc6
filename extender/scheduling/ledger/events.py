"""Defines what happens in the cluster as values; the ledger learns of changes in no other way.

Versions order what is seen of one object, and objects against lists: a list shows everything up to its version. Only a
restore of the API server's storage breaks that order: then a list is `rewound`.
"""

from msgspec import Struct

from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest


class PodRecord(Struct, frozen=True, gc=False):
    """One pod as the API server shows it.

    Args:
        uid: identity; a name may come back, a UID never does.
        namespace: for people and API calls.
        name: the same.
        resource_version: order of changes of one object.
        node: node that it is bound to, empty while pending.
        request: what it asks of GPUs; None when it asks for none.
        request_error: why its request is invalid; empty when it is valid.
        footprint: the GPUs that it holds by its annotations; None when pending or when they are missing.
        cpu_milli: effective CPU request.
        memory_bytes: effective memory request.
        priority: as admission computed it.
        ended: whether its containers will never run again, so that it holds nothing.
        policy: policy that placed it, by its annotation.
        placed_at: when, RFC 3339, by its annotation.
        scheduler: name of the scheduler that it asks for.
        unschedulable: whether kube-scheduler has said that it fits nowhere.
        refusal: why its latest try failed, while pending: reason and text of its condition PodScheduled.
        nominated_node: node where kube-scheduler evicted others for it, or waits to bind it; empty while it has
            scheduling gates, for kube-scheduler does not look at it then.
        claims_allocated: whether it claims, while pending, that a kubelet gave it GPUs.
        owner: UID of the controller that made it, and that would make another one; known while it is pending, and once
            it has failed.
        failure: why it has failed, in one word; empty while it has not.
        ran: whether any of its containers was started, known once it has failed.
        prefers: whether it states, while pending, a preference for some of the nodes that fit it.
        terminating: whether it was deleted; until it has ended it still holds its memory.
        started: when the kubelet took it on, RFC 3339.
        labels: its labels as JSON, of a bound pod that has GPUs.
    """

    uid: str
    namespace: str = ""
    name: str = ""
    resource_version: int = 0
    node: str = ""
    request: PodRequest | None = None
    request_error: str = ""
    footprint: Footprint | None = None
    cpu_milli: int = 0
    memory_bytes: int = 0
    priority: int = 0
    ended: bool = False
    policy: str = ""
    placed_at: str = ""
    scheduler: str = ""
    unschedulable: bool = False
    nominated_node: str = ""
    claims_allocated: bool = False
    owner: str = ""
    failure: str = ""
    ran: bool = False
    prefers: bool = False
    refusal: str = ""
    terminating: bool = False
    started: str = ""
    labels: bytes = b""


class NodeChanged(Struct, frozen=True, gc=False):
    """A node was added or modified."""

    node: NodeRecord


class NodeDeleted(Struct, frozen=True, gc=False):
    """A node is gone; a newer node of that name is another node."""

    name: str
    resource_version: int


class NodesListed(Struct, frozen=True, gc=False):
    """All nodes at one resource version; `rewound` when what was seen before is of a history that is no more."""

    nodes: tuple[NodeRecord, ...]
    resource_version: int
    rewound: bool = False


class PodChanged(Struct, frozen=True, gc=False):
    """A pod was added or modified."""

    pod: PodRecord


NEWEST = 2**63 - 1
"""Later than any version: for who keeps no versions."""


class PodDeleted(Struct, frozen=True, gc=False):
    """A pod is gone, as of a version; only something newer can show it again."""

    uid: str
    resource_version: int = NEWEST


class PodsListed(Struct, frozen=True, gc=False):
    """All pods at one resource version; `rewound` as for nodes."""

    pods: tuple[PodRecord, ...]
    resource_version: int
    rewound: bool = False


ClusterEvent = NodeChanged | NodeDeleted | NodesListed | PodChanged | PodDeleted | PodsListed
