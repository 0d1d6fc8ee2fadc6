"""Caches which nodes natively take a pod, and looks again only at nodes that have changed.

Pods that ask for the same share one table; with thousands of nodes this is what keeps the loop from being the
bottleneck of a load test. Pure; callers serialise access.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from bench.simulated.scheduler.cache import SchedulerCache
from bench.simulated.scheduler.native_fit import NativeMisfit, PodView, misfit

_TABLES_KEPT = 128


@dataclass(slots=True)
class FitTable:
    """Which nodes take pods of one kind: `fitting` in the view's order, and why the others do not."""

    seen: int = -1
    fitting: dict[str, None] = field(default_factory=dict)
    misfits: dict[str, NativeMisfit] = field(default_factory=dict)


class FitCache:
    """Tables of one view, those of the latest kinds of pods."""

    def __init__(self, view: SchedulerCache) -> None:
        self._view = view
        self._tables: OrderedDict[bytes, FitTable] = OrderedDict()

    def table(self, pod: PodView) -> FitTable:
        """The table for a pod, up to date; valid until the view changes."""
        kind = _kind_of(pod)
        table = self._tables.setdefault(kind, FitTable())
        self._tables.move_to_end(kind)
        if len(self._tables) > _TABLES_KEPT:
            self._tables.popitem(last=False)
        names = self._view.changed_since(table.seen)
        if names is None:
            table.fitting.clear()
            table.misfits.clear()
            names = set(self._view.nodes)
        for name in names:
            self._look(table, pod, name)
        table.seen = self._view.version
        return table

    def _look(self, table: FitTable, pod: PodView, name: str) -> None:
        node = self._view.nodes.get(name)
        why = None if node is None else misfit(pod, node)
        if node is None or why is not None:
            table.fitting.pop(name, None)
        else:
            table.fitting[name] = None
        if why is None:
            table.misfits.pop(name, None)
        else:
            table.misfits[name] = why


def _kind_of(pod: PodView) -> bytes:
    """What native filters look at, as bytes."""
    spec = pod.body["spec"]
    affinity: Mapping[str, object] = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return msgspec.json.encode(
        [sorted(pod.demand.items()), spec.get("nodeSelector"), affinity, spec.get("tolerations")], order="deterministic"
    )
