"""Admits, runs and ends the pods bound to a node, as the kubelet does.

Admissions run one after the other in the agenda's thread; containers of different pods start at the same time.
"""

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bench.simulated.client import ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.kubelet.agenda import Agenda
from bench.simulated.kubelet.device_manager import DeviceManager
from bench.simulated.kubelet.plugin_endpoint import PluginError
from bench.simulated.kubelet.pod_lifecycle import (
    RUN_ANNOTATION,
    STOP_ANNOTATION,
    ended_status,
    is_done,
    lacking,
    rejected_status,
    running_status,
    seconds_in,
)
from bench.simulated.kubelet.sockets import ListedPod
from bench.simulated.pod_demand import containers_in_order
from bench.simulated.specs import timestamp

Body = dict[str, Any]
_LOG = logging.getLogger(__name__)
_STARTERS = 8
_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 5.0
_KILLED = 137


@dataclass(slots=True)
class _Worker:
    """One pod on the node; `stage` is waiting, admitted, running, stopping or ended."""

    pod: Body
    stage: str = "waiting"
    end_planned: bool = False

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])

    @property
    def active(self) -> bool:
        return self.stage in ("admitted", "running", "stopping")


class PodWorkers:
    """The pods of one node.

    Args:
        client: how to reach the API server.
        agenda: the node's main loop.
        devices: gives the present device manager.
        allocatable: gives what the node last reported, empty before it did.
        rng: orders admissions where they are `shuffled`.
        stop_s: how long containers take to stop where no annotation says.
        shuffled: admit pods that wait together in random order instead of as watched.
    """

    def __init__(
        self,
        client: ClusterClient,
        agenda: Agenda,
        devices: Callable[[], DeviceManager],
        allocatable: Callable[[], dict[str, int]],
        *,
        rng: random.Random,
        stop_s: float,
        shuffled: bool,
    ) -> None:
        self._client = client
        self._agenda = agenda
        self._devices = devices
        self._allocatable = allocatable
        self._rng = rng
        self._stop_s = stop_s
        self._shuffled = shuffled
        self._lock = threading.Lock()
        self._workers: dict[str, _Worker] = {}
        self._queue: list[_Worker] = []
        self._holds: set[str] = set()
        self._starters = ThreadPoolExecutor(_STARTERS, "container-start")

    def close(self) -> None:
        """Start no more containers."""
        self._starters.shutdown(wait=False, cancel_futures=True)

    def handle(self, kind: str, pod: Body) -> None:
        """Take a change of a pod of this node, from any thread."""
        self._agenda.call(lambda: self._handle(kind, pod))

    def hold(self, why: str) -> None:
        """Admit no pod until `release` is called with the same reason."""
        self._agenda.call(lambda: self._holds.add(why))

    def release(self, why: str) -> None:
        """Admit the pods that waited, together."""
        self._agenda.call(lambda: self._holds.discard(why))
        self._agenda.call(self._admit_waiting)

    def waiting(self) -> int:
        """How many pods wait for admission."""
        with self._lock:
            return sum(1 for worker in self._workers.values() if worker.stage == "waiting")

    def listed(self) -> list[ListedPod]:
        """Active pods as podresources lists them, in arbitrary order."""
        with self._lock:
            workers = [worker for worker in self._workers.values() if worker.active]
        devices = self._devices()
        pods = []
        for worker in workers:
            metadata = worker.pod["metadata"]
            containers = [
                container["name"] for container, plain_init in containers_in_order(worker.pod["spec"]) if not plain_init
            ]
            held = tuple(devices.devices_of(worker.uid))
            pods.append(ListedPod(metadata["namespace"], metadata["name"], tuple(containers), held))
        return pods

    def _handle(self, kind: str, pod: Body) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if kind == "DELETED":
            if worker is not None and worker.active and worker.stage != "stopping":
                self._stop(worker)
            elif worker is not None and not worker.active:
                self._set(worker, "ended")
                with self._lock:
                    del self._workers[uid]
            return
        if worker is None:
            if is_done(pod) and not pod["metadata"].get("deletionTimestamp"):
                return
            worker = _Worker(pod)
            with self._lock:
                self._workers[uid] = worker
            self._queue.append(worker)
            # Through the agenda: pods whose events came together wait together.
            self._agenda.call(self._admit_waiting)
        worker.pod = pod
        if pod["metadata"].get("deletionTimestamp") and worker.stage != "stopping":
            self._stop(worker)
        elif worker.stage == "running":
            self._plan_end(worker)

    def _admit_waiting(self) -> None:
        if self._holds:
            return
        queue, self._queue = self._queue, []
        if self._shuffled:
            self._rng.shuffle(queue)
        for worker in queue:
            if worker.stage == "waiting":
                self._admit(worker)

    def _admit(self, worker: _Worker) -> None:
        others = [other.pod for other in self._workers.values() if other.active]
        # Active from here on: podresources lists a pod while it is being admitted.
        self._set(worker, "admitted")
        active = {other.uid for other in self._workers.values() if other.active}
        refused = self._devices().admit(worker.uid, worker.pod["spec"], active)
        if refused is not None:
            message = f"Allocate failed due to {refused.message}, which is unexpected"
            self._reject(worker, "UnexpectedAdmissionError", message)
            return
        lack = lacking(worker.pod, others, self._allocatable())
        if lack is not None:
            self._reject(worker, *lack)
            return
        self._starters.submit(self._start, worker, 0)

    def _reject(self, worker: _Worker, reason: str, message: str) -> None:
        _LOG.info("pod %s rejected: %s: %s", worker.pod["metadata"]["name"], reason, message)
        self._set(worker, "ended")
        self._write(worker, rejected_status(reason, message))

    def _start(self, worker: _Worker, attempt: int) -> None:
        if worker.stage != "admitted":
            return
        try:
            for container, _ in containers_in_order(worker.pod["spec"]):
                self._devices().pre_start(worker.uid, container["name"])
        except PluginError as error:
            _LOG.info("pod %s does not start: %s", worker.pod["metadata"]["name"], error)
            pause_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2**attempt)
            self._agenda.call_later(pause_s, lambda: self._starters.submit(self._start, worker, attempt + 1))
            return
        self._agenda.call(lambda: self._started(worker))

    def _started(self, worker: _Worker) -> None:
        if worker.stage != "admitted":
            return
        self._set(worker, "running")
        self._write(worker, running_status(worker.pod, timestamp()))
        self._plan_end(worker)

    def _plan_end(self, worker: _Worker) -> None:
        """Let the containers end when their annotation says so; it may also be set while they run."""
        run_s = seconds_in(worker.pod, RUN_ANNOTATION)
        if run_s is not None and not worker.end_planned:
            worker.end_planned = True
            self._agenda.call_later(run_s, lambda: self._completed(worker))

    def _completed(self, worker: _Worker) -> None:
        if worker.stage == "running":
            self._set(worker, "ended")
            self._write(worker, ended_status(worker.pod, timestamp(), exit_code=0))

    def _stop(self, worker: _Worker) -> None:
        if not worker.active:
            self._set(worker, "ended")
            self._confirm(worker)
            return
        self._set(worker, "stopping")
        grace_s = float(worker.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        asked_s = seconds_in(worker.pod, STOP_ANNOTATION)
        needed_s = self._stop_s if asked_s is None else asked_s
        if worker.pod["metadata"].get("deletionTimestamp"):
            needed_s = min(needed_s, grace_s)
        self._agenda.call_later(needed_s, lambda: self._stopped(worker))

    def _stopped(self, worker: _Worker) -> None:
        self._set(worker, "ended")
        self._write(worker, ended_status(worker.pod, timestamp(), exit_code=_KILLED))
        self._confirm(worker)

    def _confirm(self, worker: _Worker, attempt: int = 0) -> None:
        """Let the API server remove the pod, now that nothing of it runs."""
        metadata = worker.pod["metadata"]
        try:
            self._client.delete_pod(metadata["name"], metadata["namespace"], grace_s=0, uid=worker.uid)
        except (FailureStatusError, UnreachableError):
            self._again(attempt, lambda: self._confirm(worker, attempt + 1))
            return
        with self._lock:
            self._workers.pop(worker.uid, None)

    def _write(self, worker: _Worker, status: Body, attempt: int = 0) -> None:
        metadata = worker.pod["metadata"]
        patch = {"metadata": {"uid": worker.uid}, "status": status}
        try:
            self._client.patch_pod(metadata["name"], patch, metadata["namespace"], subresource="status")
        except FailureStatusError as error:
            # Gone, or another pod of that name (422: its UID is not the patch's): nothing is left to report on.
            if error.status not in (404, 409, 422):
                self._again(attempt, lambda: self._write(worker, status, attempt + 1))
        except UnreachableError:
            self._again(attempt, lambda: self._write(worker, status, attempt + 1))

    def _again(self, attempt: int, work: Callable[[], None]) -> None:
        self._agenda.call_later(min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2**attempt), work)

    def _set(self, worker: _Worker, stage: str) -> None:
        with self._lock:
            worker.stage = stage
