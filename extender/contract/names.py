"""Derives every resource and annotation name from the prefix of the installation."""

import re
from dataclasses import dataclass

# RFC 1123 subdomain, the form Kubernetes asks of the part of a qualified name before the slash.
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_RESOURCE = re.compile(r"[-a-z0-9.]+/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Names:
    """Resource and annotation names of one installation.

    Args:
        prefix: domain in front of every name.
        gpu_resource: name of the whole-GPU resource where it differs from `<prefix>/gpu`, for example `nvidia.com/gpu`.

    Raises:
        ValueError: a name that the API server would refuse.
    """

    prefix: str = "gpupack.io"
    gpu_resource: str = ""

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"prefix {self.prefix!r}: expected a DNS subdomain such as gpupack.io")
        if not self.gpu_resource:
            object.__setattr__(self, "gpu_resource", f"{self.prefix}/gpu")
        if not _RESOURCE.fullmatch(self.gpu_resource):
            raise ValueError(f"gpu_resource {self.gpu_resource!r}: expected a name such as {self.prefix}/gpu")

    @property
    def memory_resource(self) -> str:
        """GPU memory of one container, in units."""
        return f"{self.prefix}/gpu-mem"

    @property
    def core_resource(self) -> str:
        """Compute of one container, in percent of one GPU, over all its GPUs."""
        return f"{self.prefix}/gpu-core"

    @property
    def count_annotation(self) -> str:
        """On a pod: spread each container's memory evenly over that many GPUs of one node."""
        return f"{self.prefix}/gpu-count"

    @property
    def model_annotation(self) -> str:
        """On a pod: patterns of GPU models that it accepts."""
        return f"{self.prefix}/gpu-model"

    @property
    def policy_annotation(self) -> str:
        """On a pod: the packing policy to use for it instead of the cluster's."""
        return f"{self.prefix}/policy"

    @property
    def inventory_annotation(self) -> str:
        """On a node: its GPUs, written by the device plugin."""
        return f"{self.prefix}/inventory"

    @property
    def cordon_annotation(self) -> str:
        """On a node: UUIDs of GPUs that an admin takes out by hand."""
        return f"{self.prefix}/cordon"

    @property
    def allocation_annotation(self) -> str:
        """On a pod: the GPUs that the extender chose, written in the Binding."""
        return f"{self.prefix}/allocation"

    @property
    def allocated_annotation(self) -> str:
        """On a pod: the GPUs that the kubelet really gave, written by the device plugin."""
        return f"{self.prefix}/allocated"

    @property
    def retry_annotation(self) -> str:
        """On a pod: touched by the extender to wake a refused pod in kube-scheduler's queue."""
        return f"{self.prefix}/retry"

    @property
    def pod_annotations(self) -> tuple[str, ...]:
        """What people write on pods."""
        return self.count_annotation, self.model_annotation, self.policy_annotation

    @property
    def written_annotations(self) -> tuple[str, ...]:
        """What gpupack itself writes on pods."""
        return self.allocation_annotation, self.allocated_annotation, self.retry_annotation

    @property
    def resources(self) -> tuple[str, ...]:
        """What containers ask for."""
        return self.memory_resource, self.gpu_resource, self.core_resource
