"""Writes the `allocated` annotation: the GPUs that the kubelet really gave to each container of a pod.

Reality wins over the plan: the extender moves a pod's usage to the GPUs that this annotation names.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from device_plugin.gpus.devices import gpu_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.admissions import Account, Admissions
from device_plugin.kubelet.deciding.attributing import allocated_of
from device_plugin.kubelet.deciding.keeping import Breach, find_breach
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.pods.store import PodStore
from device_plugin.pods.writing import WRITE_ERRORS, Patching
from device_plugin.settings import Resource
from extender.contract.allocation import Allocation
from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kube.client import pod_path
from extender.kube.errors import ApiError

_LOG = logging.getLogger(__name__)

_PATCH_TIMEOUT_S = 5.0
_GONE = (404, 409, 422)
"""Answers for a pod that is gone, or for another one that has its name by now."""

_GATHER_S = 0.05
"""A pod's containers are admitted right after each other; one look after the last finds them all."""

_POLL_S = 0.01
"""podresources limits the rate of calls; pauses of this length are fine."""

_SEARCH_S = 1.0
"""podresources shows an Allocate within 10 ms; waiting longer than this is useless."""


_UNKNOWN = (
    "the API server cannot be asked which pod these devices are for and over how many GPUs it is to be spread: the "
    "container starts once that is known"
)


@dataclass(frozen=True, slots=True)
class Start:
    """A container that is about to start: whether its record is written, and why it must not start; empty if it may."""

    is_recorded: bool
    refusal: str = ""


class Reconciler:
    """Writes `allocated` before a container starts, at regular intervals, and soon after an Allocate sets `due`."""

    def __init__(
        self,
        *,
        admissions: Admissions,
        pods: PodStore,
        api: Patching,
        gpus: Callable[[], Gpus | None],
        names: Names,
        unit_mib: UnitMib,
        interval_s: float,
        due: threading.Event,
        on_breach: Callable[[BoundPod, Breach], None] = lambda _pod, _breach: None,
    ) -> None:
        self._on_breach = on_breach
        self._admissions = admissions
        self._pods = pods
        self._api = api
        self._gpus = gpus
        self._names = names
        self._unit_mib = unit_mib
        self._interval_s = interval_s
        self._due = due
        self._writing = tuple(threading.Lock() for _ in range(16))
        self._agreed_s = time.monotonic()
        self.problem = ""

    def lag_s(self) -> float:
        """Seconds since podresources and all annotations last agreed."""
        return time.monotonic() - self._agreed_s

    def soon(self) -> None:
        """Ask for a sweep; returns at once."""
        self._due.set()

    def run(self, stop: threading.Event) -> None:
        """Sweep when asked and at regular intervals, until told to stop; call `soon` after that to wake it up."""
        while not stop.is_set():
            self._due.wait(self._interval_s * (0.8 + 0.4 * random.random()))  # noqa: S311 - spreads load
            stop.wait(_GATHER_S)
            self._due.clear()
            if not stop.is_set():
                self.sweep()

    def sweep(self) -> None:
        """Compare every pod of the node with podresources and write what differs."""
        if not self._admissions.refresh():
            self.problem = "podresources cannot be read"
            return
        account = self._admissions.account()
        failed = [pod.path for pod in self._pods.pods().values() if not self._write(pod.uid, account, _PATCH_TIMEOUT_S)]
        self.problem = f"not written yet: {', '.join(failed[:5])}" if failed else ""
        if not failed:
            self._agreed_s = time.monotonic()

    def before_start(self, resource: Resource, ids: frozenset[str], timeout_s: float) -> Start:
        """Write the record of the pod whose container is about to start with these devices.

        Where it was not written the next sweep does it. A container that has not run yet has to be on as many GPUs as
        its pod asks for, and of the right model: it is refused if it is not, and one with memory as long as nobody can
        tell. The kubelet tries again. Takes at most about `timeout_s`, and a live read.
        """
        deadline_s = time.monotonic() + timeout_s
        key = self._find(resource, ids, min(_SEARCH_S, timeout_s))
        left_s = deadline_s - time.monotonic()
        done = key is not None and left_s > 0 and self._write(key.uid, self._admissions.account(), left_s)
        if not done:
            self.soon()
        refusal = self._contradiction(resource, ids, key)
        if not refusal:
            self._admissions.started(ids)
        return Start(done, refusal)

    def _contradiction(self, resource: Resource, ids: frozenset[str], key: ContainerKey | None) -> str:
        """Why a container must not start with these devices; empty if it may, or if nobody can ever tell."""
        pod = None if key is None else self._pods.get(key.uid)
        if key is not None and pod is not None:
            given = {gpu_of(resource, each) for each in ids}
            has_run = key.container in pod.container_ids.values()
            breach = None if has_run else find_breach(pod, key.container, given, self._gpus(), self._names)
            return "" if breach is None else breach.text
        if resource is not Resource.MEMORY:
            return ""
        account = self._admissions.account()
        is_guessed = account.meant_for(resource, ids) is not None and not account.has_unattributed(resource, ids)
        if is_guessed or not self._admissions.is_new(ids) or self._admissions.read_live():
            return ""
        return _UNKNOWN

    def _find(self, resource: Resource, ids: frozenset[str], timeout_s: float) -> ContainerKey | None:
        """The container that holds these devices, from podresources or, for an init container, from its Allocate."""
        deadline_s = time.monotonic() + timeout_s
        asked = False
        while True:
            # An answer from before this call may be too old: the devices may have been another pod's.
            self._admissions.refresh(timeout_s=timeout_s)
            account = self._admissions.account()
            key = account.holder(resource, ids) or account.init_holder(resource, ids, self._pods.pods())
            if key is not None or time.monotonic() >= deadline_s:
                return key
            if not asked and account.has_unattributed(resource, ids):
                asked = True
                self._admissions.read_live()
            time.sleep(_POLL_S)

    def _write(self, uid: str, account: Account, timeout_s: float) -> bool:
        """Write one pod's record if it differs; True when nothing is left to do."""
        with self._writing[hash(uid) % len(self._writing)]:
            pod, gpus = self._pods.get(uid), self._gpus()
            if pod is None or pod.ended or gpus is None:
                return True
            found = allocated_of(pod, account.attribution.held, account.grants, gpus)
            if found is None or found == pod.allocated:
                return True
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return self._patch(pod, Allocation(self._unit_mib, found, at=now), timeout_s)

    def _patch(self, pod: BoundPod, allocation: Allocation, timeout_s: float) -> bool:
        # The UID in the patch is a precondition: for a new pod under the same name the answer is 409 or 422.
        annotations = {self._names.allocated_annotation: allocation.to_json()}
        body = {"metadata": {"uid": pod.uid, "annotations": annotations}}
        try:
            answer = self._api.patch(pod_path(pod.namespace, pod.name), body, timeout_s)
        except WRITE_ERRORS as error:
            if isinstance(error, ApiError) and error.about is not None and error.status in _GONE:
                _LOG.info("pod %s is gone or was replaced: %s", pod.path, error)
                return True
            _LOG.warning("pod %s: %s is not written yet: %s", pod.path, self._names.allocated_annotation, error)
            return False
        self._pods.merge([answer])
        for name, found in allocation.containers.items():
            if breach := find_breach(pod, name, found, self._gpus(), self._names):
                _LOG.error("pod %s, container %s: %s", pod.path, name, breach.text)
                self._on_breach(pod, replace(breach, text=f"container {name}: {breach.text}"))
            planned = pod.plan.get(name, found)
            if found != planned:
                # The same share on another GPU is harmless; on another number of GPUs it may not be.
                level = logging.INFO if len(found) == len(planned) else logging.WARNING
                text = "pod %s, container %s: the kubelet gave %s instead of the planned %s"
                _LOG.log(level, text, pod.path, name, dict(found), dict(planned))
        return True
