"""Simulates the kubelet of one node: drives the real device plugin over gRPC and reports to any API server.

It registers its Node, admits the pods bound to it through the plugin with the order and semantics of the real kubelet,
serves Registration and podresources on Unix sockets, and keeps a checkpoint. Containers are not run.
"""

import logging
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.simulated.client import ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.informer import Informer
from bench.simulated.kubelet.agenda import Agenda
from bench.simulated.kubelet.device_manager import DeviceManager
from bench.simulated.kubelet.pod_workers import PodWorkers
from bench.simulated.kubelet.sockets import KubeletSockets
from bench.simulated.specs import MachineSpec, ready_condition
from bench.simulated.starting import Startable
from extender.contract.quantity import parse_milli_quantity, parse_quantity

Body = dict[str, Any]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """How a kubelet behaves.

    Args:
        status_interval_s: seconds between looks at whether the node status must be written.
        endpoint_grace_s: how long the devices of a plugin that died stay in the capacity.
        stop_s: how long containers take to stop.
        shuffled_admission: admit pods that wait together in random order.
        seed: of that order, and of the order of device IDs.
    """

    status_interval_s: float = 0.2
    endpoint_grace_s: float = 300.0
    stop_s: float = 0.0
    shuffled_admission: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.status_interval_s <= 0 or min(self.endpoint_grace_s, self.stop_s) < 0:
            raise ValueError(f"kubelet settings: expected an interval above 0 and times of at least 0, got {self}")


class SimulatedKubelet(Startable):
    """One node's kubelet; use it as a context manager, or call `start` and `stop`.

    Args:
        spec: the node.
        client: how to reach the API server.
        root: its folder, like /var/lib/kubelet; Unix sockets limit its length to about 70 characters.
        settings: how it behaves.
    """

    def __init__(
        self, spec: MachineSpec, client: ClusterClient, root: Path, settings: KubeletSettings | None = None
    ) -> None:
        self.spec = spec
        self.plugins_folder = root / "device-plugins"
        self.registration_socket = self.plugins_folder / "kubelet.sock"
        self.podresources_socket = root / "pod-resources" / "kubelet.sock"
        self._client = client
        self._settings = settings or KubeletSettings()
        self._rng = random.Random(self._settings.seed)
        self._agenda = Agenda(f"kubelet {spec.name}")
        self._reported: dict[str, dict[str, str]] = {}
        self._manager: DeviceManager | None = None
        self._sockets: KubeletSockets | None = None
        self._workers = PodWorkers(
            client,
            self._agenda,
            self._present_manager,
            self._allocatable,
            rng=self._rng,
            stop_s=self._settings.stop_s,
            shuffled=self._settings.shuffled_admission,
        )
        self._informer = Informer(
            client, "/api/v1/pods", self._workers.handle, field_selector=f"spec.nodeName={spec.name}"
        )

    def start(self) -> None:
        """Register the node and serve.

        Raises:
            RequestError: the API server refuses the node.
            UnreachableError: it does not answer.
        """
        self.plugins_folder.mkdir(parents=True, exist_ok=True)
        self.podresources_socket.parent.mkdir(parents=True, exist_ok=True)
        if self._client.node(self.spec.name) is None:
            self._client.create_node(self.spec.node_object())
        self._open()
        self._agenda.start()
        self._informer.start()
        self._agenda.call(self._report_status)

    def stop(self) -> None:
        """Stop; the node and its pods stay in the API as they are."""
        self._informer.stop()
        self._workers.close()
        self._agenda.stop()
        self._close()

    def restart(self, *, down_s: float = 0.0) -> None:
        """Stop serving, and come back after `down_s` with what the checkpoint says; containers run on meanwhile."""
        self._workers.hold("kubelet is down")
        self._agenda.call(self._close)
        self._agenda.call_later(down_s, self._open)
        self._agenda.call_later(down_s, lambda: self._workers.release("kubelet is down"))

    def hold_admissions(self) -> None:
        """Let bound pods wait until `release_admissions`."""
        self._workers.hold("held by a test")

    def release_admissions(self) -> None:
        """Admit the pods that have waited, one after the other, in the order that the settings say."""
        self._workers.release("held by a test")

    def waiting(self) -> int:
        """How many pods wait for admission."""
        return self._workers.waiting()

    def devices_of(self, pod: Body) -> dict[str, dict[str, list[str]]]:
        """What a pod holds by the kubelet's own account: container to resource to device IDs."""
        found: dict[str, dict[str, list[str]]] = {}
        for held in self._present_manager().devices_of(pod["metadata"]["uid"]):
            found.setdefault(held.container, {})[held.resource] = sorted(held.ids)
        return found

    def environment(self, pod: Body, container: str = "main") -> dict[str, str]:
        """What the plugin put into a container's environment."""
        return self._present_manager().environment(pod["metadata"]["uid"], container)

    def _open(self) -> None:
        # The real one removes everything but its checkpoint at start: plugins must notice and come back.
        for path in self.plugins_folder.iterdir():
            if path.is_socket():
                path.unlink()
        self.podresources_socket.unlink(missing_ok=True)
        self._manager = DeviceManager(
            self.plugins_folder,
            self._rng,
            self._settings.endpoint_grace_s,
            lambda: self._agenda.call(self._write_status),
        )
        self._sockets = KubeletSockets(
            self.registration_socket, self.podresources_socket, self._register, self._workers.listed
        )
        self._sockets.start()

    def _close(self) -> None:
        if self._sockets is not None:
            self._sockets.stop()
            self._sockets = None
        if self._manager is not None:
            self._manager.close()

    def _register(self, resource: str, endpoint: str) -> None:
        self._present_manager().register(resource, endpoint)

    def _present_manager(self) -> DeviceManager:
        if self._manager is None:
            raise RuntimeError(f"kubelet of {self.spec.name}: not started")
        return self._manager

    def _report_status(self) -> None:
        self._write_status()
        self._agenda.call_later(self._settings.status_interval_s, self._report_status)

    def _write_status(self) -> None:
        """Write capacity and allocatable when they have changed."""
        native = self.spec.native_capacity()
        amounts = self._present_manager().capacity()
        wanted = {
            "capacity": {**native, **{resource: str(capacity) for resource, (capacity, _) in amounts.items()}},
            "allocatable": {**native, **{resource: str(usable) for resource, (_, usable) in amounts.items()}},
        }
        if wanted == self._reported:
            return
        status = {**wanted, "conditions": [ready_condition()]}
        try:
            self._client.patch_node(self.spec.name, {"status": status}, subresource="status")
        except (FailureStatusError, UnreachableError) as error:
            _LOG.info("kubelet of %s: node status not written: %s", self.spec.name, error)
            return
        self._reported = wanted

    def _allocatable(self) -> dict[str, int]:
        return {
            name: parse_milli_quantity(amount) if name == "cpu" else parse_quantity(amount)
            for name, amount in self._reported.get("allocatable", {}).items()
        }
