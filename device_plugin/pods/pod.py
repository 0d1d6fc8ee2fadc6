"""Describes a pod bound to this node: what each container asks for, what the extender chose, what it was given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from device_plugin.settings import Resource
from extender.contract.containers import ContainerKind
from extender.contract.mig import asks_for_mig
from extender.contract.units import GpuUuid, Units

Placement = Mapping[str, Mapping[GpuUuid, Units]]
"""Container name to the units on each GPU, the form of both allocation annotations; a whole GPU has all its units."""


class ContainerKey(NamedTuple):
    """Identifies one container of one pod: names may be reused, UIDs are not."""

    uid: str
    container: str


@dataclass(frozen=True, slots=True)
class ContainerNeed:
    """What one container asks for; `memory_units` and `core_percent` over all its GPUs.

    `hides_shm`: it mounts a volume of its own at /dev/shm, and so over what a device plugin mounts there.
    """

    name: str
    kind: ContainerKind = ContainerKind.APP
    memory_units: int = 0
    whole_gpus: int = 0
    core_percent: int = 0
    hides_shm: bool = False

    def amount(self, resource: Resource) -> int:
        """Devices of a resource that the kubelet gives the container."""
        if resource is Resource.MEMORY:
            return self.memory_units
        return self.core_percent if resource is Resource.CORE else self.whole_gpus


@dataclass(frozen=True, slots=True)
class BoundPod:
    """One pod of this node.

    Args:
        needs: containers that ask for a served resource, in the order in which the kubelet admits them.
        gpu_count: GPUs over which each container's memory is spread.
        gpu_model: that annotation: the GPU models that it accepts; empty for any.
        plan: what the extender chose; empty for a pod that it did not bind.
        allocated: what the kubelet gave, as recorded in the annotation.
        order: rises with the time of binding, as far as this plugin saw it.
        version: resourceVersion, to tell older states from newer ones.
        bound_at: RFC 3339 time that the extender wrote; empty when unknown.
        created_at: RFC 3339 creation time.
        admitted: the kubelet has reported a status, so every Allocate of the pod is over.
        ended: Succeeded or Failed.
        terminating: being deleted; the kubelet no longer admits it.
        killed_at_s: Unix time at which its grace period ends; None while it is not being deleted.
        container_ids: the runtime's ID of every container that runs or ran, without its scheme, to the name.
    """

    uid: str
    namespace: str
    name: str
    needs: tuple[ContainerNeed, ...] = ()
    gpu_count: int = 1
    gpu_model: str = ""
    plan: Placement = field(default_factory=dict)
    allocated: Placement = field(default_factory=dict)
    order: int = 0
    version: int = 0
    bound_at: str = ""
    created_at: str = ""
    admitted: bool = False
    ended: bool = False
    terminating: bool = False
    killed_at_s: float | None = None
    container_ids: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """`namespace/name`, for messages."""
        return f"{self.namespace}/{self.name}"

    @property
    def takes_mig(self) -> bool:
        """Whether MIG devices are whole GPUs to it."""
        return asks_for_mig(self.gpu_model)

    def need(self, container: str) -> ContainerNeed | None:
        """The container of that name if it asks for a served resource."""
        return next((need for need in self.needs if need.name == container), None)
