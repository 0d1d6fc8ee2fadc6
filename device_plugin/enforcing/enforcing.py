"""Keeps the standing of every GPU: which ways to hold containers to their share are proven there.

A rung is claimed for a GPU only after its probe passed there, and given up as soon as a container escapes it: limits
are read back from the driver for every container that should have one, and set if the container toolkit did not.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from device_plugin.enforcing.abilities import Abilities, LimitError
from device_plugin.enforcing.mps import MpsControl, MpsError, MpsState, mps_obstacle
from device_plugin.enforcing.mps_proofs import NOT_TRIED
from device_plugin.gpus.standing import ADVISORY_ONLY, Obstacles, Standing, standing
from device_plugin.pods.events import Events
from device_plugin.pods.store import PodStore
from device_plugin.settings import LADDER, Rung
from device_plugin.usage.accounting.overuse import ShareKey, limited, shares_of
from device_plugin.usage.accounting.usage import ContainerUse, Usage, UsageReader
from extender.contract.mig import MIG_PREFIX
from extender.contract.units import GpuUuid, UnitMib

_LOG = logging.getLogger(__name__)

_BLIND_INTERVAL_S = 5.0
_TRIAL_PAUSE_S = 1.0

RUNG_CHANGED = "GPUEnforcement"
NOT_LIMITED = "GPUMemoryNotLimited"

NO_NVML = "the GPUs are not read through NVML"
HIDES_SHM = "it mounts a volume of its own at /dev/shm, over that of MPS: leave it out, with MPS it has the node's"
NO_MPS = "no MPS pipe directory is set"
ON_MIG = "one MPS daemon serves one MIG device"
NOT_MEASURED = "memory is not measured per container"


class Proofs(Protocol):
    """Knows on which GPUs MPS was seen to hold clients to their limit, and can try it."""

    def obstacle(self, uuid: GpuUuid) -> str:
        """Why MPS is not proven on that GPU; empty when it is."""
        ...

    def is_due(self, uuid: GpuUuid) -> bool:
        """Whether a trial could bring a new result."""
        ...

    def attempt(self, uuid: GpuUuid, state: MpsState) -> None:
        """Try it; takes seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Unenforced:
    """A container that escapes the limits of the rung that its GPU stands on."""

    key: ShareKey
    rung: Rung
    why: str


class Enforcer:
    """Keeps the standing of every GPU; `run` it in a thread of its own.

    Args:
        best: the best rung that may be used.
        abilities: what NVML offers; None when the GPUs are not read through it.
        mps: the control daemon; None when there is none.
        proofs: on which GPUs it was seen to hold clients to their limit; None means on none.
        usage: measures what containers use; None when that is not measured.
        pods: the node's pods, for their shares.
        unit_mib: size of a memory unit.
        interval_s: time between two probes.
        on_change: called when the standing of a GPU changed.
        events: where changes are reported; None reports them in the log only.
        may_probe: whether the driver may be asked at the moment; otherwise every standing stays as it is.
    """

    def __init__(
        self,
        *,
        best: Rung,
        abilities: Abilities | None,
        mps: MpsControl | None,
        usage: UsageReader | None,
        pods: PodStore,
        unit_mib: UnitMib,
        interval_s: float,
        on_change: Callable[[], None],
        events: Events | None = None,
        proofs: Proofs | None = None,
        may_probe: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_probe = may_probe
        self._best = best
        self._proofs = proofs
        self._has_tried = False
        self._abilities = abilities
        self._mps = mps
        self._usage = usage
        self._pods = pods
        self._unit_mib = unit_mib
        self._interval_s = interval_s
        self._on_change = on_change
        self._events = events
        self._lock = threading.Lock()
        self._standings: Mapping[GpuUuid, Standing] = {}
        self._lost: set[GpuUuid] = set()
        self.unenforced: tuple[Unenforced, ...] = ()

    def standings(self, uuids: Iterable[GpuUuid]) -> Mapping[GpuUuid, Standing]:
        """The standing of these GPUs; new ones are probed at once."""
        wanted = list(uuids)
        if any(uuid not in self._standings for uuid in wanted):
            self.step(wanted)
        return {uuid: self._standings.get(uuid, ADVISORY_ONLY) for uuid in wanted}

    def run(self, stop: threading.Event) -> None:
        """Probe repeatedly until told to stop."""
        while not stop.wait(self._pause_s()):
            self.prove(stop)
            self.look_again()

    def look_again(self) -> bool:
        """Probe the known GPUs; returns whether the standing of any changed."""
        if not self._may_probe():
            return False
        before = self._standings
        self.step(list(before))
        changed = self._standings != before
        if changed:
            self._on_change()
        return changed

    def prove(self, stop: threading.Event) -> None:
        """Try MPS on the GPUs where that could bring a new result and no better rung is proven; takes seconds each."""
        self._has_tried = self._has_tried or bool(self._standings)
        for uuid in self._untried():
            state = self._mps_state()
            if self._proofs is None or isinstance(state, str) or stop.is_set() or not self._may_probe():
                return
            if not mps_obstacle(state, self._capability(uuid), 0):
                self._proofs.attempt(uuid, state)

    def _untried(self) -> list[GpuUuid]:
        if self._proofs is None or LADDER.index(self._best) > LADDER.index(Rung.MPS):
            return []
        known = self._standings.items()
        return [
            uuid
            for uuid, found in known
            if Rung.DRIVER not in found.rungs and not uuid.startswith(MIG_PREFIX) and self._proofs.is_due(uuid)
        ]

    def _pause_s(self) -> float:
        """Shorter at the start: a trial may be due, and measuring may not have begun."""
        if self._proofs is not None and not self._has_tried:
            return min(_TRIAL_PAUSE_S, self._interval_s)
        blind = any(Rung.WATCHED not in found.rungs for found in self._standings.values())
        return min(_BLIND_INTERVAL_S, self._interval_s) if blind and self._usage is not None else self._interval_s

    def step(self, uuids: Iterable[GpuUuid]) -> None:
        """Probe these GPUs once and forget all others."""
        with self._lock:
            usage = Usage() if self._usage is None else self._usage.usage()
            shares = limited(shares_of(self._pods.pods().values(), self._unit_mib))
            state = self._mps_state()
            found: dict[GpuUuid, Standing] = {}
            unenforced: list[Unenforced] = []
            for uuid in uuids:
                users = [use for use in usage.uses if use.gpu == uuid and (use.key, uuid) in shares]
                limits, lacking = self._limits(uuid, users, shares)
                clients, outsiders = _mps_users(state, usage.uses, users, uuid)
                outsiders = [replace(each, why=HIDES_SHM) if self._hides_shm(each) else each for each in outsiders]
                obstacles = Obstacles(
                    driver=limits,
                    mps=self._mps_obstacle(uuid, state, clients),
                    watched=NOT_MEASURED if self._usage is None else usage.problem or usage.unknown.get(uuid, ""),
                )
                found[uuid] = standing(obstacles, self._best)
                unenforced += lacking if self._best is Rung.DRIVER else []
                unenforced += outsiders if found[uuid].rung is Rung.MPS else []
            self._record(found, tuple(unenforced))

    def _record(self, found: Mapping[GpuUuid, Standing], unenforced: tuple[Unenforced, ...]) -> None:
        for uuid, now in found.items():
            before = self._standings.get(uuid)
            if before == now:
                continue
            text = f"GPU {uuid}: enforcement is {now.rung.value} ({now.why_not_better or 'the best'})"
            _LOG.info("%s", text)
            if before is not None:
                self._report_change(uuid, before.rung, now.rung, text)
        known = {(item.key, item.rung) for item in self.unenforced}
        for item in unenforced:
            if (item.key, item.rung) not in known:
                self._report_unenforced(item)
        self._standings, self.unenforced = dict(found), unenforced

    def _report_change(self, uuid: GpuUuid, before: Rung, now: Rung, text: str) -> None:
        """Report a rung that was lost, and one that is back; a better rung just after the start is normal."""
        if self._events is None or before is now:
            return
        if LADDER.index(now) > LADDER.index(before):
            self._lost.add(uuid)
            self._events.about_node("Warning", RUNG_CHANGED, text)
        elif uuid in self._lost:
            self._lost.discard(uuid)
            self._events.about_node("Normal", RUNG_CHANGED, text)

    def _report_unenforced(self, item: Unenforced) -> None:
        (key, uuid) = item.key
        text = f"container {key.container}, GPU {uuid}: {item.rung.value} does not hold: {item.why}"
        pod = self._pods.get(key.uid)
        _LOG.warning("pod %s, %s", pod.path if pod else key.uid, text)
        if self._events is not None and pod is not None:
            self._events.about_pod(pod, "Warning", NOT_LIMITED, text)

    def _hides_shm(self, item: Unenforced) -> bool:
        """Whether a container keeps itself from the MPS server's shared memory."""
        (key, _) = item.key
        pod = self._pods.get(key.uid)
        need = None if pod is None else pod.need(key.container)
        return need is not None and need.hides_shm

    def _limits(
        self, uuid: GpuUuid, users: Iterable[ContainerUse], shares: Mapping[ShareKey, int]
    ) -> tuple[str, list[Unenforced]]:
        """Why the driver's limits cannot be claimed on a GPU, and the containers that show it."""
        if self._abilities is None:
            return NO_NVML, []
        if self._best is not Rung.DRIVER:
            return "turned off", []
        obstacle = self._abilities.limit_obstacle(uuid)
        if obstacle:
            return obstacle, []
        lacking = []
        for use in users:
            why = self._limit_lacks(self._abilities, use, shares[use.key, uuid])
            if why:
                lacking.append(Unenforced((use.key, uuid), Rung.DRIVER, why))
        if lacking:
            return f"container {lacking[0].key[0].container}: {lacking[0].why}", lacking
        return "", []

    @staticmethod
    def _limit_lacks(abilities: Abilities, use: ContainerUse, share_mib: int) -> str:
        """Why a running container lacks the limit that it should have, after trying to set it; empty when it has it."""
        if not use.cgroup:
            return "its cgroup is not known"
        try:
            if abilities.limit_mib(use.gpu, use.cgroup) == share_mib:
                return ""
            abilities.set_limit_mib(use.gpu, use.cgroup, share_mib)
            found = abilities.limit_mib(use.gpu, use.cgroup)
        except LimitError as error:
            return f"its limit cannot be read back: {error}"
        return "" if found == share_mib else f"its limit is {found} MiB, expected {share_mib}"

    def _mps_state(self) -> MpsState | str:
        if self._mps is None:
            return NO_MPS
        try:
            return self._mps.state()
        except MpsError as error:
            return str(error)

    def _mps_obstacle(self, uuid: GpuUuid, state: MpsState | str, clients: int) -> str:
        if uuid.startswith(MIG_PREFIX):
            return ON_MIG
        capability = None if self._mps is None else self._capability(uuid)
        return mps_obstacle(state, capability, clients, self._unproven(uuid))

    def _unproven(self, uuid: GpuUuid) -> str:
        return NOT_TRIED if self._proofs is None else self._proofs.obstacle(uuid)

    def _capability(self, uuid: GpuUuid) -> tuple[int, int] | None:
        return None if self._abilities is None else self._abilities.compute_capability(uuid)


def _mps_users(
    state: MpsState | str, uses: Iterable[ContainerUse], users: Iterable[ContainerUse], uuid: GpuUuid
) -> tuple[int, list[Unenforced]]:
    """The number of MPS clients on a GPU, and the containers with a share of it whose processes are not all clients."""
    if isinstance(state, str):
        return 0, []
    on_gpu = {pid for use in uses if use.gpu == uuid for pid in use.pids}
    outsiders = [
        Unenforced((use.key, uuid), Rung.MPS, f"processes {sorted(use.pids - state.clients)} are not MPS clients")
        for use in users
        if use.pids - state.clients
    ]
    return len(on_gpu & state.clients), outsiders
