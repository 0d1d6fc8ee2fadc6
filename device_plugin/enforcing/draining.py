"""Ends the GPU work of MPS clients just before their pods are killed.

A client that is killed while its kernel runs can take down the MPS server and all its other clients
(https://docs.nvidia.com/deploy/mps). Pods that end by themselves within their grace period are left alone.
"""

import logging
import threading
import time
from collections.abc import Callable

from device_plugin.enforcing.mps import MpsControl, MpsError
from device_plugin.pods.store import PodStore
from device_plugin.usage.accounting.usage import UsageReader

_LOG = logging.getLogger(__name__)

_INTERVAL_S = 0.5
MARGIN_S = 2.0
"""Before the end of the grace period, when the kubelet kills what still runs: the daemon needs a moment."""


class Drainer:
    """Ends the work of clients whose pods are about to be killed; `run` it in a thread of its own.

    Args:
        mps: the control daemon.
        usage: which containers' processes are on the GPUs.
        pods: the node's pods.
        clock_s: Unix time.
    """

    def __init__(
        self, *, mps: MpsControl, usage: UsageReader, pods: PodStore, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._mps = mps
        self._usage = usage
        self._pods = pods
        self._clock_s = clock_s
        self._done: set[int] = set()

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.wait(_INTERVAL_S):
            self.step()

    def step(self) -> None:
        """Look once; the daemon is asked only when a pod is about to be killed."""
        now_s = self._clock_s()
        late = {
            pod.uid
            for pod in self._pods.pods().values()
            if pod.killed_at_s is not None and not pod.ended and pod.killed_at_s - now_s <= MARGIN_S
        }
        pids = {pid for use in self._usage.usage().uses if use.key.uid in late for pid in use.pids} if late else set()
        self._done &= pids
        if not pids - self._done:
            return
        try:
            server_of = self._mps.state().server_of
            for pid in sorted(pids - self._done):
                self._done.add(pid)
                if pid in server_of:
                    self._mps.terminate(server_of[pid], pid)
                    _LOG.info("MPS client %d: ended its work before its pod is killed", pid)
        except MpsError as error:
            _LOG.warning("MPS clients of pods that are about to be killed cannot be ended: %s", error)
