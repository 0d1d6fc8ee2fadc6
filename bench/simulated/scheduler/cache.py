"""Keeps kube-scheduler's cache: nodes with their bound and assumed pods. Pure; callers serialise access."""

from collections.abc import Mapping
from typing import Any

from bench.simulated.scheduler.native_fit import NodeState, PodView, node_state

_CHANGES_KEPT = 100_000


class SchedulerCache:
    """The cluster as one scheduler believes it to be."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.version = 0
        self._changes: list[str] = []
        self._first = 0
        self._placed: dict[str, tuple[str, PodView]] = {}
        self._assumed: set[str] = set()

    def set_node(self, body: Mapping[str, Any]) -> bool:
        """Take over a node; whether anything that scheduling looks at has changed."""
        fresh = node_state(body)
        old = self.nodes.get(fresh.name)
        for node, pod in self._placed.values():
            if node == fresh.name:
                fresh.add(pod)
        self.nodes[fresh.name] = fresh
        self._touch(fresh.name)
        return old is None or (old.traits, old.allocatable) != (fresh.traits, fresh.allocatable)

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods are remembered for when it comes back."""
        self.nodes.pop(name, None)
        self._touch(name)

    def changed_since(self, version: int) -> set[str] | None:
        """Names of nodes that may have changed after a version; None when that is too long ago to know."""
        if version < self._first:
            return None
        return set(self._changes[version - self._first :])

    def place(self, pod: PodView, node: str) -> None:
        """A pod is bound to a node."""
        self._put(pod, node)
        self._assumed.discard(pod.uid)

    def assume(self, pod: PodView, node: str) -> None:
        """A pod will be bound to a node."""
        self._put(pod, node)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> bool:
        """An assumed pod was not bound; whether it was still only assumed."""
        if uid not in self._assumed:
            return False
        self.remove(uid)
        return True

    def remove(self, uid: str) -> None:
        """A pod is gone or has ended."""
        node, _ = self._placed.pop(uid, ("", None))
        self._assumed.discard(uid)
        if node in self.nodes:
            self.nodes[node].remove(uid)
            self._touch(node)

    def is_assumed(self, uid: str) -> bool:
        """Whether a pod's binding is under way."""
        return uid in self._assumed

    def _put(self, pod: PodView, node: str) -> None:
        self.remove(pod.uid)
        self._placed[pod.uid] = (node, pod)
        if node in self.nodes:
            self.nodes[node].add(pod)
            self._touch(node)

    def _touch(self, name: str) -> None:
        self.version += 1
        self._changes.append(name)
        if len(self._changes) > _CHANGES_KEPT:
            surplus = len(self._changes) // 2
            self._first += surplus
            del self._changes[:surplus]
