"""Keeps the device manager's account: which device IDs each container has, which are free, which are reused.

Source: k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/manager.go (Allocate, devicesToAllocate, UpdateAllocatedDevices)
and pod_devices.go. Pure: the order in which a set gives its members, arbitrary in the kubelet, is an argument.
"""

import base64
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

Order = Callable[[Collection[str]], list[str]]


class DeviceHolder(NamedTuple):
    """The container that holds devices of a resource."""

    pod_uid: str
    container: str
    resource: str


@dataclass(frozen=True, slots=True)
class Held:
    """Device IDs of one holder and the plugin's answer to Allocate (a serialized ContainerAllocateResponse)."""

    ids: frozenset[str]
    response: bytes


@dataclass(frozen=True, slots=True)
class NoDevices:
    """Why a container gets no devices, in the kubelet's words."""

    message: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Devices chosen so far for one container.

    Args:
        taken: IDs that come from the pod's reuse pool.
        available: free healthy IDs, from which the rest is chosen.
        size: how many the container wants in all.
    """

    taken: frozenset[str]
    available: frozenset[str]
    size: int

    @property
    def complete(self) -> bool:
        """Whether the reuse pool gave everything; the plugin is not asked for its preference then."""
        return len(self.taken) == self.size

    @property
    def offered(self) -> frozenset[str]:
        """What GetPreferredAllocation may choose from."""
        return self.available | self.taken

    def finish(self, preferred: Iterable[str], order: Order) -> frozenset[str]:
        """All IDs of the container: the reused ones, then preferred ones that are available, then any."""
        chosen = set(self.taken)
        wanted = self.available.intersection(preferred)
        for group in (wanted, self.available - wanted):
            chosen.update(order(group)[: self.size - len(chosen)])
        return frozenset(chosen)


class DeviceAccount:
    """What the device manager knows; callers serialise access."""

    def __init__(self) -> None:
        self.healthy: dict[str, frozenset[str]] = {}
        self.unhealthy: dict[str, frozenset[str]] = {}
        self.held: dict[DeviceHolder, Held] = {}

    def set_devices(self, resource: str, healthy: Iterable[str], unhealthy: Iterable[str]) -> None:
        """Take over a plugin's device list."""
        self.healthy[resource] = frozenset(healthy)
        self.unhealthy[resource] = frozenset(unhealthy)

    def mark_all_unhealthy(self, resource: str) -> None:
        """The plugin is gone: its devices stay in the capacity and leave allocatable."""
        every = self.healthy.get(resource, frozenset()) | self.unhealthy.get(resource, frozenset())
        self.set_devices(resource, (), every)

    def forget(self, resource: str) -> None:
        """The plugin has been gone for too long: its devices leave the capacity too."""
        self.set_devices(resource, (), ())

    def capacity(self) -> dict[str, tuple[int, int]]:
        """Per resource its capacity and its allocatable."""
        return {
            resource: (len(healthy) + len(self.unhealthy.get(resource, ())), len(healthy))
            for resource, healthy in self.healthy.items()
        }

    def drop_ended(self, active: Collection[str]) -> None:
        """Free the devices of every pod that is not among the `active` UIDs; the kubelet does so at admissions."""
        self.held = {holder: held for holder, held in self.held.items() if holder.pod_uid in active}

    def draft(self, holder: DeviceHolder, size: int, pool: frozenset[str], order: Order) -> Draft | NoDevices | None:
        """Begin the choice of devices for a container; None when it has them already."""
        resource = holder.resource
        healthy = self.healthy.get(resource)
        own = self.held.get(holder)
        if own is not None and len(own.ids) != size:
            changed = f"changed request for resource {resource!r} from {len(own.ids)} to {size}"
            return NoDevices(f"pod {holder.pod_uid!r} container {holder.container!r} {changed}")
        if healthy is None:
            return NoDevices(f"cannot allocate unregistered device {resource}")
        if not healthy:
            return NoDevices(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
        if own is not None and not own.ids <= healthy:
            gone = "previously allocated devices are no longer healthy"
            return NoDevices(f"{gone}; cannot allocate unhealthy devices {resource}")
        if own is not None or size == 0:
            return None
        taken = frozenset(order(pool)[:size])
        available = healthy - self._in_use(resource)
        if len(available) < size - len(taken):
            counts = f"Requested: {size - len(taken)}, Available: {len(available)}"
            return NoDevices(f"requested number of devices unavailable for {resource}. {counts}")
        return Draft(taken, available, size)

    def record(self, holder: DeviceHolder, ids: frozenset[str], response: bytes) -> None:
        """A plugin's Allocate succeeded."""
        self.held[holder] = Held(ids, response)

    def ids_of(self, pod_uid: str, container: str) -> dict[str, frozenset[str]]:
        """A container's IDs per resource."""
        return {
            holder.resource: held.ids
            for holder, held in self.held.items()
            if (holder.pod_uid, holder.container) == (pod_uid, container)
        }

    def _in_use(self, resource: str) -> frozenset[str]:
        return frozenset().union(*(held.ids for holder, held in self.held.items() if holder.resource == resource))

    def to_checkpoint(self) -> bytes:
        """The text of `kubelet_internal_checkpoint`; its checksum is this project's own, the form is the kubelet's."""
        entries = [
            {
                "PodUID": holder.pod_uid,
                "ContainerName": holder.container,
                "ResourceName": holder.resource,
                "DeviceIDs": {"-1": sorted(held.ids)},
                "AllocResp": base64.b64encode(held.response).decode(),
            }
            for holder, held in self.held.items()
        ]
        registered = {resource: sorted(ids) for resource, ids in self.healthy.items()}
        data = {"PodDeviceEntries": entries, "RegisteredDevices": registered}
        return msgspec.json.encode({"Data": data, "Checksum": zlib.crc32(msgspec.json.encode(data))})


def from_checkpoint(text: bytes) -> DeviceAccount:
    """What a restarted kubelet remembers: which container has which IDs. Its resources have no devices yet.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        document: dict[str, Any] = msgspec.json.decode(text)
        data = document["Data"]
        if zlib.crc32(msgspec.json.encode(data)) != document["Checksum"]:
            raise ValueError("checkpoint: the checksum does not match")
        account = DeviceAccount()
        for entry in data["PodDeviceEntries"]:
            ids = frozenset(identity for group in entry["DeviceIDs"].values() for identity in group)
            holder = DeviceHolder(entry["PodUID"], entry["ContainerName"], entry["ResourceName"])
            account.record(holder, ids, base64.b64decode(entry["AllocResp"]))
        for resource in data["RegisteredDevices"]:
            account.forget(resource)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint: not in the expected form: {error!r}") from error
    return account
