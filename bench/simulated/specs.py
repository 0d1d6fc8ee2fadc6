"""Describes simulated nodes and pods, and builds their API objects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from device_plugin.gpus.mig.profiles import parse_split
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.mig import MIG_PREFIX, SLICES_OF_A_GPU, MigDevice
from extender.contract.names import Names
from extender.contract.units import CORE_PERCENT, DEFAULT_UNIT_MIB, GpuUuid, UnitMib

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """Equal GPUs of a node.

    Args:
        model: product name as NVML gives it.
        memory_mib: memory of each.
        count: how many.
        mig: profiles of the MIG devices that each is split into, such as `1g.10gb`; none where it is used as it is.
    """

    model: str
    memory_mib: int
    count: int = 1
    mig: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.memory_mib < 1 or self.count < 0 or not self.model:
            raise ValueError(f"gpus: {self} is wrong; expected a model, memory_mib of at least 1, count of at least 0")
        parse_split(self.mig)


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One node.

    Args:
        name: its name.
        gpus: its GPUs, in NVML's order.
        cpu: cores.
        memory_gib: host memory.
        pods: how many pods it takes.
        labels: node labels.
    """

    name: str
    gpus: tuple[GpuSpec, ...] = ()
    cpu: int = 64
    memory_gib: int = 512
    pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or min(self.cpu, self.memory_gib, self.pods) < 1:
            raise ValueError(f"node {self.name!r}: expected a name, and cpu, memory_gib and pods of at least 1")

    def inventory(self, unit_mib: UnitMib = DEFAULT_UNIT_MIB, *, generation: int = 0) -> Inventory:
        """Its GPUs and MIG devices as a device plugin would publish them; another `generation` has other UUIDs."""
        mark = f"{self.name[:40]}-g{generation}" if generation else self.name[:40]
        specs = [spec for spec in self.gpus for _ in range(spec.count)]
        return Inventory(
            unit_mib=unit_mib,
            gpus=tuple(gpu for index, spec in enumerate(specs) for gpu in _published(spec, index, f"{mark}-{index}")),
        )

    def native_capacity(self) -> dict[str, str]:
        """What the node has apart from GPUs."""
        return {"cpu": str(self.cpu), "memory": f"{self.memory_gib}Gi", "pods": str(self.pods)}

    def node_object(self, extra: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None) -> Body:
        """The Node that a kubelet registers, ready, with `extra` resources."""
        capacity = {**self.native_capacity(), **(extra or {})}
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", **self.labels}
        return {
            "metadata": {"name": self.name, "labels": labels, "annotations": dict(annotations or {})},
            "spec": {},
            "status": {"capacity": capacity, "allocatable": dict(capacity), "conditions": [ready_condition()]},
        }

    def hollow_node_object(self, names: Names, unit_mib: UnitMib = DEFAULT_UNIT_MIB) -> Body:
        """The Node of a node without kubelet and plugin: their inventory and resources are written directly."""
        inventory = self.inventory(unit_mib)
        units = sum(inventory.units_of(gpu) for gpu in inventory.gpus)
        extra = {
            names.memory_resource: str(units),
            names.gpu_resource: str(len(inventory.gpus)),
            names.core_resource: str(CORE_PERCENT * len(inventory.gpus)),
        }
        return self.node_object(extra, {names.inventory_annotation: inventory.to_json()})


def _published(spec: GpuSpec, index: int, mark: str) -> Iterator[InventoryGpu]:
    """One GPU of the spec, or the MIG devices that it is split into; `mark` makes its UUID."""
    parent = GpuUuid(f"GPU-{mark}")
    if not spec.mig:
        yield InventoryGpu(uuid=parent, index=index, model=spec.model, memory_mib=spec.memory_mib)
    for device, profile in enumerate(parse_split(spec.mig)):
        slices, name = profile.gpu_slices, profile.name
        yield InventoryGpu(
            uuid=GpuUuid(f"{MIG_PREFIX}{mark}-{device}"),
            index=index,
            model=f"{spec.model} MIG {name}",
            memory_mib=profile.memory_mib,
            mig=MigDevice(parent, device, gi=device + 1, ci=0, profile=name, slices=slices, of=SLICES_OF_A_GPU),
        )


def timestamp(in_s: float = 0.0) -> str:
    """The time so many seconds from now, RFC 3339 in whole seconds as Kubernetes writes it."""
    return (datetime.now(UTC) + timedelta(seconds=in_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready_condition() -> Body:
    """The condition that lets the scheduler use a node."""
    return {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated kubelet is ready"}


def gpu_pod(
    name: str,
    limits: Mapping[str, int | str],
    *,
    annotations: Mapping[str, str] | None = None,
    requests: Mapping[str, str] | None = None,
    **spec: Any,
) -> Body:
    """A pod with one container `main`; `spec` adds to the pod's spec or replaces parts of it."""
    resources: Body = {"limits": {key: str(value) for key, value in limits.items()}}
    if requests:
        resources["requests"] = dict(requests)
    return {
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "simulated", "resources": resources}],
            **spec,
        },
    }
