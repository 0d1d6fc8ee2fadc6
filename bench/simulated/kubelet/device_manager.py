"""Manages devices as the kubelet does: follows registered plugins, allocates to containers, keeps a checkpoint."""

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.simulated.kubelet.device_account import DeviceAccount, DeviceHolder, NoDevices, from_checkpoint
from bench.simulated.kubelet.plugin_endpoint import PluginEndpoint, PluginError, environment_of
from bench.simulated.pod_demand import containers_in_order
from extender.contract.quantity import parse_quantity

CHECKPOINT = "kubelet_internal_checkpoint"


@dataclass(frozen=True, slots=True)
class HeldDevices:
    """One container's devices of one resource, as podresources reports them."""

    container: str
    resource: str
    ids: tuple[str, ...]


class DeviceManager:
    """Devices of one node; its methods may be called from any thread.

    Args:
        folder: the kubelet's device-plugins folder, for sockets and checkpoint.
        rng: source of the arbitrary orders that Go's sets and maps have.
        endpoint_grace_s: how long the devices of a plugin that died stay in the capacity.
        changed: called when capacity or allocatable may have changed.
    """

    def __init__(self, folder: Path, rng: random.Random, endpoint_grace_s: float, changed: Callable[[], None]) -> None:
        self._folder = folder
        self._rng = rng
        self._endpoint_grace_s = endpoint_grace_s
        self._changed = changed
        self._lock = threading.RLock()
        self._account = self._read_checkpoint()
        self._endpoints: dict[str, PluginEndpoint] = {}
        self._gone_since: dict[str, float] = {}

    def register(self, resource: str, endpoint: str) -> None:
        """Dial a plugin that registers, in place of an earlier one of the resource.

        Raises:
            PluginError: nobody answers at its socket.
        """
        fresh = PluginEndpoint(resource, self._folder / endpoint, self._devices_came, self._plugin_ended)
        with self._lock:
            before = self._endpoints.get(resource)
            self._endpoints[resource] = fresh
            self._gone_since.pop(resource, None)
            self._account.healthy.setdefault(resource, frozenset())
        if before is not None:
            before.close()
        try:
            fresh.connect()
        except PluginError:
            self._plugin_ended(fresh)
            raise

    def close(self) -> None:
        """Disconnect from every plugin."""
        with self._lock:
            endpoints = list(self._endpoints.values())
            self._endpoints.clear()
        for endpoint in endpoints:
            endpoint.close()

    def capacity(self) -> dict[str, tuple[int, int]]:
        """Capacity and allocatable of each resource; both are 0 once its plugin has been gone for too long."""
        with self._lock:
            for resource, since in list(self._gone_since.items()):
                if time.monotonic() - since > self._endpoint_grace_s:
                    self._account.forget(resource)
                    del self._gone_since[resource]
            return self._account.capacity()

    def admit(self, pod_uid: str, spec: Mapping[str, Any], active: Collection[str]) -> NoDevices | None:
        """Give every container of a pod its devices, one Allocate per container and resource, in the kubelet's order.

        Args:
            pod_uid: the pod.
            spec: its spec.
            active: UIDs of pods that have not ended, this one among them; devices of others are freed first.
        """
        with self._lock:
            self._account.drop_ended(active)
        pool: dict[str, frozenset[str]] = {}
        for container, plain_init in containers_in_order(spec):
            limits = list(((container.get("resources") or {}).get("limits") or {}).items())
            self._rng.shuffle(limits)
            for resource, amount in limits:
                with self._lock:
                    managed = resource in self._account.healthy
                if managed:
                    holder = DeviceHolder(pod_uid, container["name"], resource)
                    refused = self._allocate(holder, parse_quantity(str(amount)), pool.get(resource, frozenset()))
                    if refused is not None:
                        return refused
            with self._lock:
                for resource, ids in self._account.ids_of(pod_uid, container["name"]).items():
                    held = pool.get(resource, frozenset())
                    pool[resource] = held | ids if plain_init else held - ids
                self._write_checkpoint()
        return None

    def _allocate(self, holder: DeviceHolder, size: int, pool: frozenset[str]) -> NoDevices | None:
        with self._lock:
            draft = self._account.draft(holder, size, pool, self._any_order)
            endpoint = self._endpoints.get(holder.resource)
        if draft is None or isinstance(draft, NoDevices):
            return draft
        if endpoint is None:
            return NoDevices(f"endpoint of resource {holder.resource} has stopped")
        # No lock while the plugin is called, as in the kubelet: it may ask podresources meanwhile.
        try:
            preferred: Collection[str] = ()
            if not draft.complete:
                offered, taken = self._any_order(draft.offered), self._any_order(draft.taken)
                preferred = endpoint.preferred(offered, taken, size)
            ids = draft.finish(preferred, self._any_order)
            response = endpoint.allocate(self._any_order(ids))
        except PluginError as error:
            return NoDevices(str(error))
        with self._lock:
            self._account.record(holder, ids, response)
        return None

    def pre_start(self, pod_uid: str, container: str) -> None:
        """Announce the start of a container to the plugins of its devices.

        Raises:
            PluginError: one of them objects.
        """
        with self._lock:
            held = self._account.ids_of(pod_uid, container)
            endpoints = dict(self._endpoints)
        for resource, ids in held.items():
            if resource not in endpoints:
                raise PluginError(f"endpoint of resource {resource} has stopped")
            endpoints[resource].pre_start(self._any_order(ids))

    def devices_of(self, pod_uid: str) -> list[HeldDevices]:
        """All devices of a pod, those of init containers too."""
        with self._lock:
            return [
                HeldDevices(holder.container, holder.resource, tuple(self._any_order(held.ids)))
                for holder, held in self._account.held.items()
                if holder.pod_uid == pod_uid
            ]

    def environment(self, pod_uid: str, container: str) -> dict[str, str]:
        """What the plugins' Allocate answers put into a container's environment."""
        with self._lock:
            answers = [
                held.response
                for holder, held in self._account.held.items()
                if (holder.pod_uid, holder.container) == (pod_uid, container)
            ]
        return {name: value for answer in answers for name, value in environment_of(answer).items()}

    def _devices_came(self, endpoint: PluginEndpoint, healthy: list[str], unhealthy: list[str]) -> None:
        with self._lock:
            if self._endpoints.get(endpoint.resource) is not endpoint:
                return
            self._account.set_devices(endpoint.resource, healthy, unhealthy)
            self._write_checkpoint()
        self._changed()

    def _plugin_ended(self, endpoint: PluginEndpoint) -> None:
        with self._lock:
            if self._endpoints.get(endpoint.resource) is not endpoint:
                return
            del self._endpoints[endpoint.resource]
            self._account.mark_all_unhealthy(endpoint.resource)
            self._gone_since[endpoint.resource] = time.monotonic()
        endpoint.close()
        self._changed()

    def _any_order(self, ids: Collection[str]) -> list[str]:
        ordered = sorted(ids)
        self._rng.shuffle(ordered)
        return ordered

    def _write_checkpoint(self) -> None:
        path = self._folder / CHECKPOINT
        fresh = path.with_suffix(".new")
        fresh.write_bytes(self._account.to_checkpoint())
        fresh.replace(path)

    def _read_checkpoint(self) -> DeviceAccount:
        path = self._folder / CHECKPOINT
        return from_checkpoint(path.read_bytes()) if path.exists() else DeviceAccount()
