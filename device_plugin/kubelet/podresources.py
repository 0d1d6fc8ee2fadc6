"""Reads the kubelet's podresources API: which container holds which devices, ours and those of other plugins."""

import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from device_plugin.gpus.conflicts import ForeignEntry
from device_plugin.kubelet.deciding.attributing import Entry
from device_plugin.kubelet.podresources_v1 import podresources_pb2, podresources_pb2_grpc
from device_plugin.settings import Resource

_LONGEST_ANSWER_BYTES = 64 * 1024 * 1024
"""The kubelet writes one message per device ID of every container of the node."""

CHANNEL_OPTIONS = (
    # The kubelet refuses the socket's path as the name of the server.
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", _LONGEST_ANSWER_BYTES),
    ("grpc.enable_http_proxy", 0),
    # A restarted kubelet behind the same path is a new server; connections must not be shared or kept.
    ("grpc.use_local_subchannel_pool", 1),
    # The kubelet may come back at any moment; the default is up to two minutes.
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class PodResourcesError(Exception):
    """The kubelet's podresources API cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """One answer: our devices and those of others; `asked_s` is the monotonic time at which the request was sent.

    `pods` are namespace and name of every pod that the kubelet knows, with devices or without.
    """

    entries: tuple[Entry, ...]
    asked_s: float
    foreign: tuple[ForeignEntry, ...] = ()
    pods: frozenset[tuple[str, str]] = frozenset()


class PodResources:
    """Reads the podresources API; simultaneous callers share one call, since the kubelet limits the rate."""

    def __init__(self, socket: Path, resources: Mapping[str, Resource]) -> None:
        self._socket = socket
        self._resources = resources
        self._lock = threading.Lock()
        self._last: DeviceSnapshot | None = None
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=CHANNEL_OPTIONS)
        self._stub = podresources_pb2_grpc.PodResourcesListerStub(self._channel)

    @property
    def problem(self) -> str:
        """Why nothing can be read, where the socket is missing: the folder may be another one than the kubelet's."""
        try:
            if stat.S_ISSOCK(self._socket.stat().st_mode):
                return ""
        except OSError:
            pass
        return f"no podresources at {self._socket}: what the kubelet gave is not seen"

    def read(self, newer_than_s: float, timeout_s: float) -> DeviceSnapshot:
        """What the kubelet says at some moment after `newer_than_s` (monotonic).

        Raises:
            PodResourcesError: no answer in time, or an error.
        """
        if not self._lock.acquire(timeout=timeout_s):
            raise PodResourcesError(f"podresources: no answer in {timeout_s:.1f} s")
        try:
            if self._last is None or self._last.asked_s < newer_than_s:
                self._last = self._list(timeout_s)
            return self._last
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _list(self, timeout_s: float) -> DeviceSnapshot:
        asked_s = time.monotonic()
        try:
            answer = self._stub.List(podresources_pb2.ListPodResourcesRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise PodResourcesError(f"podresources: {error.details()}") from error
        pods = frozenset((pod.namespace, pod.name) for pod in answer.pod_resources)
        return DeviceSnapshot(entries_of(answer, self._resources), asked_s, foreign_of(answer, self._resources), pods)


def entries_of(answer: Any, resources: Mapping[str, Resource]) -> tuple[Entry, ...]:
    """The containers of a ListPodResourcesResponse that hold devices of these resources."""
    found: list[Entry] = []
    for pod in answer.pod_resources:
        for container in pod.containers:
            ids: dict[Resource, set[str]] = {}
            for devices in container.devices:
                resource = resources.get(devices.resource_name)
                if resource is not None:
                    ids.setdefault(resource, set()).update(devices.device_ids)
            found += [
                Entry(pod.namespace, pod.name, container.name, resource, frozenset(held))
                for resource, held in ids.items()
            ]
    return tuple(found)


def foreign_of(answer: Any, resources: Mapping[str, Resource]) -> tuple[ForeignEntry, ...]:
    """The containers of a ListPodResourcesResponse that hold devices of other plugins, or claims."""
    found: list[ForeignEntry] = []
    for pod in answer.pod_resources:
        for container in pod.containers:
            devices: dict[str, set[str]] = {}
            for each in container.devices:
                if each.resource_name not in resources:
                    devices.setdefault(each.resource_name, set()).update(each.device_ids)
            for claim in container.dynamic_resources:
                for part in claim.claim_resources:
                    names = {part.device_name, *(device.name for device in part.cdi_devices)} - {""}
                    devices.setdefault(part.driver_name, set()).update(names)
            found += [
                ForeignEntry(pod.namespace, pod.name, container.name, giver, frozenset(ids))
                for giver, ids in devices.items()
            ]
    return tuple(found)
