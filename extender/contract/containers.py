"""Tell apart how the kubelet treats the devices of a pod's containers."""

from enum import Enum


class ContainerKind(Enum):
    """How the kubelet treats a container's devices."""

    INIT = "init"  # reused by later containers of the pod, not listed by podresources
    SIDECAR = "sidecar"  # a restartable init container: keeps its devices
    APP = "app"
