"""Feed the reflectors' nodes, pods and budgets to the state, nodes and pods as events of the ledger.

An object that cannot be read is left out, and what it uses is unknown. When an older version of the same object is
known, that one stays: a pod that becomes unreadable keeps the GPU memory that it was charged for.
"""

from collections.abc import Callable, Iterable, Sequence

from extender.decoding.budgets import decode_budget
from extender.decoding.decoder import Decoder
from extender.kube.objects import Identity
from extender.scheduling.ledger.events import (
    NodeChanged,
    NodeDeleted,
    NodesListed,
    PodChanged,
    PodDeleted,
    PodRecord,
    PodsListed,
)
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.preempting.budgets import Budget
from extender.server.state.state import State


class NodeSink:
    """Takes what the reflector of nodes sees."""

    def __init__(self, state: State, decoder: Decoder) -> None:
        self._state = state
        self.read = decoder.node

    def replaced(
        self, records: Sequence[NodeRecord], unreadable: Sequence[Identity], resource_version: str, *, rewound: bool
    ) -> None:
        """These are all nodes."""
        known = self._state.snapshot().nodes if unreadable else {}
        kept = [known[each.name].record for each in unreadable if each.name in known]
        self._state.apply(NodesListed((*records, *kept), int(resource_version), rewound))

    def changed(self, record: NodeRecord) -> None:
        """A node was added or modified."""
        self._state.apply(NodeChanged(record))

    def deleted(self, identity: Identity) -> None:
        """A node is gone."""
        self._state.apply(NodeDeleted(identity.name, int(identity.resource_version)))


class PodSink:
    """Takes what the reflector of pods sees; `observe` is shown every pod that is not deleted, after the state is."""

    def __init__(
        self, state: State, decoder: Decoder, observe: Callable[[Iterable[PodRecord]], None] = lambda _pods: None
    ) -> None:
        self._state = state
        self._observe = observe
        self.read = decoder.pod

    def replaced(
        self, records: Sequence[PodRecord], unreadable: Sequence[Identity], resource_version: str, *, rewound: bool
    ) -> None:
        """These are all pods."""
        kept = [known for each in unreadable if (known := self._state.pod(each.uid)) is not None]
        self._state.apply(PodsListed((*records, *kept), int(resource_version), rewound))
        self._observe(records)

    def changed(self, record: PodRecord) -> None:
        """A pod was added or modified."""
        self._state.apply(PodChanged(record))
        self._observe((record,))

    def deleted(self, identity: Identity) -> None:
        """A pod is gone."""
        self._state.apply(PodDeleted(identity.uid, int(identity.resource_version)))


class BudgetSink:
    """Takes what the reflector of PodDisruptionBudgets sees."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.read = decode_budget

    def replaced(
        self, records: Sequence[Budget], unreadable: Sequence[Identity], resource_version: str, *, rewound: bool
    ) -> None:
        """These are all budgets."""
        del resource_version, rewound  # nothing is compared with what was known before
        self._state.replace_budgets(records, [each.uid for each in unreadable])

    def changed(self, record: Budget) -> None:
        """A budget was added or modified."""
        self._state.change_budget(record.uid, record)

    def deleted(self, identity: Identity) -> None:
        """A budget is gone."""
        self._state.change_budget(identity.uid, None)
