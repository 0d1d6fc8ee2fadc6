"""Removes the startup taints of this Node once the kubelet offers what the plugin serves.

A Node is Ready before the plugin has registered, and offers no GPU memory then: an autoscaler sees that the pod that it
was made for does not fit and makes another one. A node pool therefore gives its nodes a taint, and whoever makes a node
useful removes it (Cluster Autoscaler's startup taints, Karpenter's `startupTaints`).
"""

import logging
import threading
from collections.abc import Callable, Iterable

from device_plugin.pods.decoding import NodeNotes, decode_node
from device_plugin.pods.writing import WRITE_ERRORS, Patching, write_when_due
from extender.contract.names import Names
from extender.kube.client import node_path
from extender.kube.errors import ApiError
from extender.kube.objects import DecodeError
from extender.kube.retries import Backoff

_LOG = logging.getLogger(__name__)

_PATCH_TIMEOUT_S = 10.0
_CONFLICT = 409
_LOOK_AGAIN_S = 60.0
_LOOK_SOON_S = 1.0


class StartupTaints:
    """Removes taints by their key, whatever their value and effect; it follows the watch on the Node.

    Args:
        api: where the Node is patched.
        node_name: the Node.
        names: of the installation.
        keys: of the taints to remove; without any, nothing is ever written.
        is_registered: whether this plugin is registered with the kubelet. Until then, what the Node offers may be from
            before the machine was started again.
    """

    def __init__(
        self,
        *,
        api: Patching,
        node_name: str,
        names: Names,
        keys: Iterable[str],
        is_registered: Callable[[], bool],
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._names = names
        self._keys = frozenset(keys)
        self._is_registered = is_registered
        self._backoff = Backoff(first_s=0.25, last_s=30.0)
        self._due = threading.Event()
        self._node: NodeNotes | None = None
        self.problem = ""

    def take(self, node: NodeNotes) -> None:
        """Take the newest state of the Node."""
        self._node = node
        self._due.set()

    def gone(self) -> None:
        """Note that the Node is gone."""
        self._node = None

    def soon(self) -> None:
        """Ask `run` to check whether there is something to remove; returns at once."""
        self._due.set()

    def run(self, stop: threading.Event) -> None:
        """Remove what is to be removed, until told to stop; call `soon` after that to wake it up."""
        write_when_due(self.step, stop, due=self._due, backoff=self._backoff, retries_when_due=False)

    def step(self) -> float | None:
        """Remove the taints if it is time; the seconds until the next check is due, None when writing failed."""
        node = self._node
        if node is None or not any(taint.get("key") in self._keys for taint in node.taints):
            self.problem = ""
            return _LOOK_AGAIN_S
        if not self._offers(node):
            return _LOOK_AGAIN_S
        if not self._is_registered():
            return _LOOK_SOON_S
        return self._remove(node)

    def _offers(self, node: NodeNotes) -> bool:
        """Whether the kubelet shows every resource of ours, and memory to give; others may be 0, as with MIG only."""
        ours = (self._names.memory_resource, self._names.gpu_resource, self._names.core_resource)
        return set(ours) <= node.offered.keys() and node.offered[self._names.memory_resource] > 0

    def _remove(self, node: NodeNotes) -> float | None:
        removed = [taint for taint in node.taints if taint.get("key") in self._keys]
        # The list is replaced as a whole, so it must not have changed: the UID and the version are preconditions.
        body = {
            "metadata": {"uid": node.uid, "resourceVersion": node.version},
            "spec": {"taints": [dict(taint) for taint in node.taints if taint not in removed]},
        }
        try:
            answer = decode_node(self._api.patch(node_path(self._node_name), body, _PATCH_TIMEOUT_S), self._names)
        except (*WRITE_ERRORS, DecodeError) as error:
            if isinstance(error, ApiError) and error.status == _CONFLICT:
                # The watch brings the newer version.
                return _LOOK_SOON_S
            problem = f"startup taints not removed: {error}"
            if problem != self.problem:
                _LOG.warning("node %s: %s", self._node_name, problem)
            self.problem = problem
            return None
        self.problem = ""
        if self._node is node:
            self._node = answer
        _LOG.info(
            "node %s: startup taints removed: %s", self._node_name, ", ".join(str(each["key"]) for each in removed)
        )
        return _LOOK_AGAIN_S
