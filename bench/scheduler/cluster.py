"""Creates nodes and pods on a real control plane, and notes when kube-scheduler's binds become visible."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from bench.latency.load import NAMES, SIZES_UNITS, Load
from bench.simulated.client import STRATEGIC_PATCH
from bench.simulated.specs import gpu_pod
from extender.kube.client import KubeApi, connect
from tests.e2e.api import Api
from tests.e2e.controlplane import ControlPlane

PODS_PATH = "/api/v1/namespaces/default/pods"
_WRITERS = 8
_GONE_TIMEOUT_S = 180.0


def create_nodes(api: Api, load: Load) -> None:
    """Create nodes with GPUs and without a kubelet."""

    def create(body: dict[str, Any]) -> None:
        status = body.pop("status")
        name = body["metadata"]["name"]
        api.create("/api/v1/nodes", body)
        api.patch(f"/api/v1/nodes/{name}/status", {"status": status}, STRATEGIC_PATCH)

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(create, (spec.hollow_node_object(NAMES) for spec in load.specs())))


def create_pods(api: Api, prefix: str, count: int) -> None:
    """Create pods that ask for GPU memory of different sizes."""

    def create(number: int) -> None:
        units = SIZES_UNITS[number % len(SIZES_UNITS)]
        requests = {"cpu": "100m", "memory": "128Mi", NAMES.memory_resource: str(units)}
        pod = gpu_pod(f"{prefix}-{number}", {NAMES.memory_resource: units}, requests=requests)
        api.create(PODS_PATH, pod)

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(create, range(count)))


def delete_pods(api: Api) -> None:
    """Delete all pods, and wait until they are gone.

    Raises:
        TimeoutError: some stay.
    """

    def delete(pod: dict[str, Any]) -> None:
        api.delete(f"{PODS_PATH}/{pod['metadata']['name']}", grace_period_s=0)

    deadline_s = time.monotonic() + _GONE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        pods = api.get(PODS_PATH)["items"]
        if not pods:
            return
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(delete, pods))
    raise TimeoutError(f"pods are left after {_GONE_TIMEOUT_S} s")


class Binds:
    """Watches pods and notes when each was first seen with a node."""

    def __init__(self, api: KubeApi, resource_version: str) -> None:
        self._stream = api.watch(PODS_PATH, resource_version, 3600.0)
        self.seen_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for line in self._stream:
            pod = json.loads(line)["object"]
            if pod.get("spec", {}).get("nodeName"):
                self.seen_s.setdefault(pod["metadata"]["name"], time.monotonic())

    def wait(self, count: int, timeout_s: float) -> None:
        """Wait until `count` pods are bound.

        Raises:
            TimeoutError: they were not in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while len(self.seen_s) < count:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{len(self.seen_s)} of {count} pods are bound after {timeout_s:.0f} s")
            time.sleep(0.05)

    def close(self) -> None:
        """End the watch."""
        self._stream.abort()
        self._thread.join(5.0)
        self._stream.close()


@contextmanager
def watching(plane: ControlPlane) -> Iterator[Binds]:
    """Watch binds from now on."""
    api = connect(str(plane.admin_kubeconfig))
    binds = Binds(api, plane.api.get(PODS_PATH, limit="1")["metadata"]["resourceVersion"])
    try:
        yield binds
    finally:
        binds.close()
        api.close()
