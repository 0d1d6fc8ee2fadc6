"""Answers the kubelet's calls while it admits pods, and keeps the account of which devices were given out.

The account is what podresources last showed plus the Allocates since then. Normally, when a container's plan is known
and its devices are on one GPU, neither the API server nor podresources is asked. podresources is asked when containers
are waiting that ask for the same size in different shapes, since it tells which of their pods the kubelet knows.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from device_plugin.gpus.devices import PLAIN, Showing, gpu_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.deciding.allocating import Given, Refusal, RefusalKind, allocate
from device_plugin.kubelet.deciding.attributing import (
    Attribution,
    Grant,
    attribute,
    is_live_init,
    memory_places,
    occupied_by,
    settle,
    taken_by,
)
from device_plugin.kubelet.deciding.matching import (
    Candidate,
    Choice,
    Occupied,
    PodPath,
    Request,
    Taken,
    among,
    candidates,
    is_ambiguous,
    prefer,
    reserved_by,
)
from device_plugin.kubelet.deciding.offering import held_by_pods, showing_of
from device_plugin.kubelet.podresources import DeviceSnapshot, PodResourcesError
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.pods.store import PodStore
from device_plugin.settings import DeviceListStrategy, MpsAccess, NumaHints, Resource
from extender.contract.units import GpuUuid

_LOG = logging.getLogger(__name__)

_PASSING = (RefusalKind.OCCUPIED, RefusalKind.SPREAD, RefusalKind.MIG)
"""Refusals that may be due to what is not known yet."""

LIVE_READ_TIMEOUT_S = 2.0
_LIVE_READ_PAUSE_S = 5.0
"""After a live read that failed, so that an unreachable API server does not slow down every admission."""

_PATIENCE_S = 0.5
_PAUSE_S = 0.02
"""podresources answers 100 times a second (pkg/kubelet/apis/podresources/constants.go), for all clients together."""

_GRANT_PATIENCE_S = 5.0
"""podresources shows an Allocate within 10 ms; what it does not show by then was refused or has already ended."""


class PodResourcesReader(Protocol):
    """Reads the kubelet's own record of who has which devices."""

    def read(self, newer_than_s: float, timeout_s: float) -> DeviceSnapshot:
        """What the kubelet says at some moment after `newer_than_s` (monotonic).

        Raises:
            PodResourcesError: no answer in time, or an error.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Offer:
    """The last answer to GetPreferredAllocation, for the Allocate that follows it."""

    ids: frozenset[str]
    key: ContainerKey | None
    gpu_count: int
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """Who holds which devices, as the plugin knows it at one moment."""

    attribution: Attribution
    grants: tuple[Grant, ...]

    def holder(self, resource: Resource, ids: frozenset[str]) -> ContainerKey | None:
        """The container that holds some of these devices; None when podresources does not show it."""
        for (key, held_resource), held in self.attribution.held.items():
            if held_resource is resource and held & ids:
                return key
        return None

    def init_holder(self, resource: Resource, ids: frozenset[str], pods: Mapping[str, BoundPod]) -> ContainerKey | None:
        """The plain init container that was granted these devices; podresources never shows those."""
        for grant in self.grants:
            if grant.key is not None and grant.resource is resource and grant.ids == ids and is_live_init(grant, pods):
                return grant.key
        return None

    def meant_for(self, resource: Resource, ids: frozenset[str]) -> ContainerKey | None:
        """The container that an Allocate of these devices was most likely for, while podresources does not show it."""
        return next((grant.key for grant in self.grants if grant.resource is resource and grant.ids == ids), None)

    def has_unattributed(self, resource: Resource, ids: frozenset[str]) -> bool:
        """Whether podresources shows these devices with a pod that is not known here."""
        return any(entry.resource is resource and entry.ids & ids for entry in self.attribution.unattributed)


class Admissions:
    """Answers for one node; safe to use from several threads.

    Args:
        read_pods: reads the newest state of the node's pods from the API server into the store, within the seconds
            given; False when that failed.
        on_granted: called after every successful Allocate.
        mps: how containers reach the MPS daemon, where the node has one.
        numa_hints: for which resources the kubelet learns of NUMA nodes.
        device_nodes: the device nodes that a container with these GPUs gets from the kubelet.
    """

    def __init__(
        self,
        *,
        pods: PodStore,
        podresources: PodResourcesReader,
        read_pods: Callable[[float], bool],
        strategy: DeviceListStrategy,
        on_granted: Callable[[], None],
        mps: MpsAccess | None = None,
        numa_hints: NumaHints = NumaHints.NONE,
        device_nodes: Callable[[Iterable[GpuUuid], Gpus], tuple[str, ...]] = lambda _uuids, _gpus: (),
    ) -> None:
        self._pods = pods
        self._podresources = podresources
        self._read_pods = read_pods
        self._strategy = strategy
        self._on_granted = on_granted
        self._mps = mps
        self._numa_hints = numa_hints
        self._device_nodes = device_nodes
        self._lock = threading.Lock()
        self._attribution = Attribution()
        self._grants: list[Grant] = []
        self._offers: dict[Resource, _Offer] = {}
        self._known: frozenset[PodPath] = frozenset()
        self._unstarted: list[frozenset[str]] = []
        self._has_read = False
        self._problem = ""
        self._no_live_read_before_s = 0.0

    def prefer(self, request: Request, gpus: Gpus) -> Choice:
        """The devices for one container; the API server is asked when no known plan fits.

        Raises:
            DeviceIdError: the request holds an ID that this plugin never advertised.
        """
        choice = self._choose(request, gpus)
        if not choice.is_planned:
            # The watch may be behind, and whatever blocks the planned GPU may have ended.
            self.refresh()
            self.read_live()
            choice = self._choose(request, gpus)
        with self._lock:
            self._offers[request.resource] = _Offer(
                frozenset(choice.ids), choice.key, choice.gpu_count, choice.is_planned
            )
        return choice

    def allocate(self, resource: Resource, ids: Collection[str], gpus: Gpus) -> Given | Refusal:
        """Answer one container's Allocate and remember it."""
        if not self._has_read:
            self.refresh()
        answer, key = self._answer(resource, ids, gpus)
        if isinstance(answer, Refusal) and answer.kind in _PASSING:
            # What the account holds may have ended, and the pod that this is for may not be known yet.
            self.refresh()
            self.read_live()
            answer, key = self._answer(resource, ids, gpus)
        if isinstance(answer, Given):
            if resource is not Resource.CORE:
                answer = replace(answer, device_nodes=self._device_nodes(answer.gpus, gpus))
            with self._lock:
                given = frozenset(ids)
                self._grants.append(Grant(resource, given, time.monotonic(), key))
                if resource is Resource.MEMORY:
                    self._unstarted = [earlier for earlier in self._unstarted if not earlier & given]
                    self._unstarted.append(given)
            self._on_granted()
        return answer

    def showing(self, resource: Resource, gpus: Gpus) -> Showing:
        """What the kubelet is told of one resource's devices, as they are held at this moment."""
        if self._numa_hints is NumaHints.NONE and all(sample.healthy for sample in gpus):
            return PLAIN
        if not self._has_read:
            self.refresh()
        pods = self._pods.pods()
        with self._lock:
            held = held_by_pods(resource, self._attribution, self._grants, pods)
            occupied = occupied_by(self._attribution, self._grants, pods.values())
        return showing_of(resource, gpus, held, occupied, self._numa_hints)

    def is_new(self, ids: frozenset[str]) -> bool:
        """Whether this plugin gave out these units of memory, and no container has started with them since."""
        with self._lock:
            return ids in self._unstarted

    def started(self, ids: frozenset[str]) -> None:
        """Remember that a container starts with these units of memory."""
        with self._lock:
            self._unstarted = [each for each in self._unstarted if each != ids]

    def account(self) -> Account:
        """What is known at this moment."""
        with self._lock:
            return Account(self._attribution, tuple(self._grants))

    def refresh(self, newer_than_s: float | None = None, timeout_s: float = LIVE_READ_TIMEOUT_S) -> bool:
        """Read podresources and bring the account up to date; False when it cannot be read."""
        wanted_s = time.monotonic() if newer_than_s is None else newer_than_s
        try:
            snapshot = self._podresources.read(wanted_s, timeout_s)
        except PodResourcesError as error:
            # Logged once: callers ask again within milliseconds.
            if str(error) != self._problem:
                _LOG.warning("%s", error)
            self._problem = str(error)
            return False
        pods = self._pods.pods()
        with self._lock:
            self._has_read = True
            self._problem = ""
            self._known = snapshot.pods
            self._attribution = attribute(snapshot.entries, pods.values(), self._attribution.held)
            # Grants that are newer than the request cannot be judged by its answer.
            old = [grant for grant in self._grants if grant.at_s < snapshot.asked_s]
            young = [grant for grant in self._grants if grant.at_s >= snapshot.asked_s]
            self._grants = settle(old, self._attribution, pods, snapshot.asked_s, _GRANT_PATIENCE_S) + young
        return True

    def _refresh_patiently(self) -> bool:
        """As `refresh`, and again while the kubelet refuses, as it does above a rate; False when it keeps refusing."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self.refresh(timeout_s=_PATIENCE_S):
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_PAUSE_S)
        return True

    def read_live(self) -> bool:
        """Read the newest state of the node's pods, unless that failed a moment ago; False when they were not read."""
        if time.monotonic() < self._no_live_read_before_s:
            return False
        done = self._read_pods(LIVE_READ_TIMEOUT_S)
        if not done:
            self._no_live_read_before_s = time.monotonic() + _LIVE_READ_PAUSE_S
        return done

    def _view(self) -> tuple[list[BoundPod], Taken, Occupied]:
        pods = list(self._pods.pods().values())
        with self._lock:
            taken = taken_by(self._attribution.held, self._grants)
            return pods, taken, occupied_by(self._attribution, self._grants, pods)

    def _choose(self, request: Request, gpus: Gpus) -> Choice:
        reused = self._pods_with(request.resource, request.must_include)
        pods, taken, occupied = self._view()
        found = self._candidates(request.resource, request.size, pods, taken, reused)
        if is_ambiguous(found) and self._refresh_patiently():
            pods, taken, occupied = self._view()
            found = self._candidates(request.resource, request.size, pods, taken, reused)
            found = among(found, self._pods.pods(), self._known)
        return prefer(request, found, gpus, occupied, reserved_by(pods, taken))

    def _candidates(
        self, resource: Resource, size: int, pods: list[BoundPod], taken: Taken, reused: Collection[str]
    ) -> Sequence[Candidate]:
        with self._lock:
            memory_on = memory_places(self._attribution.held, self._grants) if resource is Resource.CORE else {}
        return candidates(resource, size, pods, taken, reused, memory_on=memory_on)

    def _answer(
        self, resource: Resource, ids: Collection[str], gpus: Gpus
    ) -> tuple[Given | Refusal, ContainerKey | None]:
        pods, taken, occupied = self._view()
        asked = frozenset(ids)
        with self._lock:
            offer = self._offers.get(resource)
        reused = self._pods_with(resource, asked)
        if offer is not None and offer.ids == asked:
            spreads, key = {offer.gpu_count}, offer.key
            takes_mig = offer.planned or any(pod.takes_mig for pod in pods if key is not None and pod.uid == key.uid)
        else:
            found = self._candidates(resource, len(asked), pods, taken, reused)
            takes_mig = any(candidate.takes_mig for candidate in found)
            spreads = {candidate.gpu_count for candidate in found}
            key = next((candidate.key for candidate in found if candidate.key.uid in reused), None)
        if reused:
            # The kubelet picks the reused devices itself, unevenly; they stay on GPUs that the pod already has.
            spreads |= set(range(1, self._reused_gpus(resource, asked) + 1))
        answer = allocate(
            resource,
            ids,
            gpus,
            occupied=occupied,
            spreads=spreads,
            takes_mig=takes_mig or bool(reused),
            strategy=self._strategy,
            mps=self._mps_for(key),
        )
        return answer, key

    def _mps_for(self, key: ContainerKey | None) -> MpsAccess | None:
        """How a container reaches the MPS daemon; not at all where it hides the daemon's shared memory."""
        pod = None if key is None else self._pods.get(key.uid)
        need = None if key is None or pod is None else pod.need(key.container)
        return None if need is not None and need.hides_shm else self._mps

    def _pods_with(self, resource: Resource, ids: frozenset[str]) -> set[str]:
        """UIDs of the pods of which a container was just given some of these devices."""
        with self._lock:
            return {
                grant.key.uid
                for grant in self._grants
                if grant.key is not None and grant.resource is resource and grant.ids & ids
            }

    def _reused_gpus(self, resource: Resource, ids: frozenset[str]) -> int:
        """Number of GPUs of the earlier grant that all these devices are from; 0 when there is none."""
        with self._lock:
            sources = [grant.ids for grant in self._grants if grant.resource is resource and ids <= grant.ids]
        return max((len({gpu_of(resource, device_id) for device_id in source}) for source in sources), default=0)
