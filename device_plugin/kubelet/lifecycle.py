"""Keeps the plugin's sockets served and registered with the kubelet, through restarts of either.

A kubelet that starts deletes every socket in the folder and forgets its plugins; registering with a socket that is gone
would hang it. So the folder is checked ten times a second: a socket of ours that vanished is served again, and when
kubelet.sock was replaced, or no kubelet has watched our devices for a while, we register again.
"""

import itertools
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from device_plugin.kubelet.podresources import CHANNEL_OPTIONS
from device_plugin.kubelet.servicer import DevicePluginServicer, options_message
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2, deviceplugin_pb2_grpc
from device_plugin.metrics import PluginMetrics
from device_plugin.settings import Settings
from extender.kube.retries import Backoff

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.1
"""A kubelet admits pods about a second after it starts: by then our resources have to be registered."""

_REGISTER_TIMEOUT_S = 5.0
_UNHEARD_S = 10.0
"""After so long without a watch we register again: a kubelet that gave up on us does not come back by itself."""

_THREADS = 48
"""At most, started as needed: PreStartContainer may wait for the API server and must not delay Allocate."""

_NUMBERS = itertools.count()
_SERVER_OPTIONS = (
    # A GetPreferredAllocation request lists every free device.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.so_reuseport", 0),
)

_Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> _Stamp | None:
    """What distinguishes a socket file from a later one of the same name; None when there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_ctime_ns


class ResourceServer:
    """Serves one resource on a socket."""

    def __init__(self, servicer: DevicePluginServicer, path: Path) -> None:
        self.servicer = servicer
        self.socket = path
        self._server: grpc.Server | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._inode: int | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether the socket that we serve is still in place."""
        stamp = stamp_of(self.socket)
        return self._server is not None and stamp is not None and stamp[1] == self._inode

    @property
    def is_replaced(self) -> bool:
        """Whether another process serves in our place: the newer plugin during an update, which then owns it."""
        if self._server is None or self.is_reachable:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(str(self.socket)) == 0

    def start(self) -> None:
        """Serve on a new socket, replacing any that is there.

        gRPC removes the path that it bound when a server ends, late and without checking what is there by then. So it
        binds a name of its own, which is then renamed.

        Raises:
            OSError: the folder cannot be written.
        """
        self.stop()
        bound = self.socket.with_name(f"{self.socket.name}.{os.getpid() % 10**7}{next(_NUMBERS) % 1000}")
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=self.socket.stem)
        server = grpc.server(threads, options=_SERVER_OPTIONS)
        deviceplugin_pb2_grpc.add_DevicePluginServicer_to_server(self.servicer, server)
        try:
            server.add_insecure_port(f"unix:{bound}")
        except RuntimeError as error:
            server.stop(None)
            threads.shutdown(wait=False)
            raise OSError(f"{self.socket} cannot be served: is the folder there, and writable?") from error
        server.start()
        self._server, self._threads = server, threads
        bound.rename(self.socket)
        self._inode = self.socket.stat().st_ino

    def stop(self) -> None:
        """End the server and remove its socket."""
        if self._server is None:
            return
        if self.is_reachable:
            with suppress(OSError):
                self.socket.unlink()
        self._server.stop(0.2).wait(5.0)
        self._server = None
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        self._inode = None


@dataclass(slots=True)
class _Registration:
    """What is known of one resource's registration with the kubelet."""

    server: ResourceServer
    kubelet: _Stamp | None = None
    heard_s: float = 0.0
    failures: int = 0
    retry_at_s: float = 0.0


class Lifecycle:
    """Keeps the resources of one plugin served and registered; `run` it in a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        servicers: Sequence[DevicePluginServicer],
        metrics: PluginMetrics,
        on_registered: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._on_registered = on_registered
        self._metrics = metrics
        self._backoff = Backoff(first_s=0.25, last_s=15.0)
        self._states = [
            _Registration(ResourceServer(servicer, settings.kubelet_dir / settings.socket_name(servicer.resource)))
            for servicer in servicers
        ]
        self.problem = "not registered yet"

    def run(self, stop: threading.Event) -> None:
        """Serve and register until told to stop, then remove the sockets."""
        try:
            while not stop.is_set():
                self.look()
                stop.wait(_LOOK_S)
        finally:
            for state in self._states:
                state.server.stop()

    def look(self) -> None:
        """Check every resource once."""
        problems = [problem for state in self._states if (problem := self._see_to(state))]
        problem = "; ".join(dict.fromkeys(problems))
        if problem and problem != self.problem:
            _LOG.warning("%s", problem)
        self.problem = problem

    def _see_to(self, state: _Registration) -> str:
        """Serve and register one resource if needed; returns what is wrong, empty when nothing is."""
        now_s = time.monotonic()
        try:
            if not state.server.is_reachable:
                if state.server.is_replaced:
                    return f"another device plugin serves {state.server.socket}"
                state.server.start()
                state.kubelet = None
                state.retry_at_s = 0.0
        except OSError as error:
            return str(error)
        kubelet = stamp_of(self._settings.kubelet_socket)
        if kubelet is None:
            state.kubelet = None
            return f"no kubelet at {self._settings.kubelet_socket}"
        if state.server.servicer.is_watched:
            state.heard_s = now_s
        if kubelet == state.kubelet and now_s - state.heard_s < _UNHEARD_S:
            return ""
        if now_s < state.retry_at_s:
            return self.problem
        return self._register(state, kubelet)

    def _register(self, state: _Registration, kubelet: _Stamp) -> str:
        resource = state.server.servicer.resource
        name = resource.name_in(self._settings.names)
        try:
            register(self._settings.kubelet_socket, name, state.server.socket.name, options_message(resource))
        except grpc.RpcError as error:
            state.failures += 1
            wait_s = self._backoff.delay_s(state.failures, random.random())  # noqa: S311 - spreads retries
            state.retry_at_s = time.monotonic() + wait_s
            state.kubelet = None
            return f"{name}: the kubelet refuses the registration: {error.details()}"
        state.kubelet, state.failures, state.heard_s = kubelet, 0, time.monotonic()
        self._metrics.registered(resource)
        self._on_registered()
        _LOG.info("%s: registered with the kubelet at %s", name, self._settings.kubelet_socket)
        return ""


def register(kubelet_socket: Path, resource_name: str, endpoint: str, options: Any) -> None:
    """Register a socket in the kubelet's folder that is already being served.

    Raises:
        grpc.RpcError: the kubelet refuses, or does not answer in time.
    """
    with grpc.insecure_channel(f"unix:{kubelet_socket}", options=CHANNEL_OPTIONS) as channel:
        request = deviceplugin_pb2.RegisterRequest(
            version="v1beta1", endpoint=endpoint, resource_name=resource_name, options=options
        )
        deviceplugin_pb2_grpc.RegistrationStub(channel).Register(request, timeout=_REGISTER_TIMEOUT_S)
