"""Starts a cluster, and builds the nodes and pods of tests that share one, each in a zone of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.e2e.scenarios.environment import MEMORY, Backend, Environment

P100 = GpuSpec("Tesla P100-PCIE-16GB", 16384)
"""16 units."""


AS_INSTALLED = ("--scheduler-name", "default-scheduler")
"""What the shipped manifests say to the extender beside the stock scheduler."""


@contextmanager
def running(backend: Backend) -> Iterator[Environment]:
    """A cluster on the backend, empty at first and afterwards."""
    environment = Environment(backend, AS_INSTALLED)
    try:
        environment.start()
        yield environment
    finally:
        environment.stop()


def add_nodes(environment: Environment, zone: str, *names: str, gpu: GpuSpec = P100) -> None:
    """Add equal nodes to a zone, and wait until extender and kube-scheduler know them."""
    for name in names:
        environment.add_hollow_node(MachineSpec(name, (gpu,), labels={"zone": zone}))
    wait_until(
        lambda: set(names) <= {node["name"] for node in environment.extender_nodes()},
        f"the extender to know {', '.join(names)}",
    )
    environment.wait_scheduler_knows_nodes()


def pod_in(zone: str, name: str, units: int, *, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that asks for GPU memory and has to go into a zone; `spec` adds to its spec."""
    pod = gpu_pod(name, {MEMORY: units}, nodeSelector={"zone": zone}, **spec)
    pod["metadata"]["labels"] = dict(labels or {})
    return pod
