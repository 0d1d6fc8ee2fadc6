"""A watcher of a cluster that records every moment in which a GPU would have been given out twice."""

import threading
from types import TracebackType
from typing import Any, Self

from bench.simulated.client import ClusterClient, UnreachableError
from bench.simulated.informer import Informer
from bench.simulated.usage_check import UsageCheck, Violation
from extender.contract.names import Names

Body = dict[str, Any]


class Checker:
    """Follows pods and nodes on watches of its own and checks after every event; a context manager.

    Args:
        client: how to reach the API server, simulated or real.
        names: resource and annotation names.
    """

    def __init__(self, client: ClusterClient, names: Names | None = None) -> None:
        self._check = UsageCheck(names or Names())
        self._lock = threading.Lock()
        self._bound: set[str] = set()
        self._nodes = Informer(client, "/api/v1/nodes", self._node_changed)
        self._pods = Informer(client, "/api/v1/pods", self._pod_changed)

    def __enter__(self) -> Self:
        # Nodes first: a pod can only be judged by the GPUs of its node.
        for informer in (self._nodes, self._pods):
            informer.start()
            if not informer.wait_synced():
                raise UnreachableError("checker: no list of nodes and pods within 30 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nodes.stop()
        self._pods.stop()

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What was wrong so far."""
        with self._lock:
            return tuple(self._check.violations)

    def settle(self) -> tuple[Violation, ...]:
        """What was wrong so far, and what is wrong now that nothing is under way any more."""
        with self._lock:
            return tuple(self._check.settle())

    def bound(self) -> int:
        """How many pods were seen with a node, gone ones too."""
        with self._lock:
            return len(self._bound)

    def usage(self, node: str) -> dict[str, int]:
        """Units in use on each GPU of a node."""
        with self._lock:
            return self._check.usage(node)

    def _node_changed(self, kind: str, node: Body) -> None:
        with self._lock:
            if kind != "DELETED":
                self._check.set_node(node)

    def _pod_changed(self, kind: str, pod: Body) -> None:
        with self._lock:
            if pod["spec"].get("nodeName"):
                self._bound.add(pod["metadata"]["uid"])
            if kind == "DELETED":
                self._check.remove_pod(pod["metadata"]["uid"])
            else:
                self._check.set_pod(pod)
