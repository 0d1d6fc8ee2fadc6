"""Finds GPUs of ours that another device plugin or a resource claim also gives to pods.

podresources says which devices a container has, and their IDs may name the GPU. If they do not, or the kubelet does
not list claims, NVML shows on which GPU the pod's processes run.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from device_plugin.gpus.gpu import GpuSample
from extender.contract.cordon import names_of
from extender.contract.units import GpuUuid

_NVIDIA_DRA_DRIVER = "gpu.nvidia.com"
_GPU_NAME = re.compile(r"nvidia|gpu|cuda|/mig-")

CLAIM = "a resource claim"
"""The giver of GPUs to a pod with resource claims, as far as the pod tells."""


@dataclass(frozen=True, slots=True)
class ForeignEntry:
    """Devices that a container has from another giver.

    Args:
        namespace: of the pod.
        pod: its name.
        container: its name.
        giver: the resource's name, or the driver of the claim.
        devices: device IDs, device names and CDI names.
    """

    namespace: str
    pod: str
    container: str
    giver: str
    devices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Guest:
    """A pod that runs on a GPU that we did not give it, and what it asks for from others.

    Args:
        gpu: the GPU on which NVML shows its processes.
        namespace: of the pod.
        pod: its name.
        givers: resources of other device plugins that may be GPUs, and `a resource claim`.
    """

    gpu: GpuUuid
    namespace: str
    pod: str
    givers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conflicts:
    """The conflicts in words per GPU, and claims to GPUs that name no UUID."""

    gpus: Mapping[GpuUuid, str]
    unclear: tuple[str, ...] = ()


def conflicts(entries: Iterable[ForeignEntry], gpus: Iterable[GpuSample], guests: Iterable[Guest] = ()) -> Conflicts:
    """Find our GPUs among the devices of other givers, by their UUIDs, which IDs contain as a whole word.

    A GPU that others give out takes all its MIG devices along.

    NVIDIA's device plugin names its devices `<uuid>`, or `<uuid>::<n>` when it shares them; another installation of
    this plugin `<uuid>-<n>`; CDI names end in `=<uuid>`. NVIDIA's DRA driver may name a GPU by a number that is not
    NVML's index; which GPU that is remains unclear until a guest is seen on it.
    """
    gpus, entries = list(gpus), list(entries)
    ours = {gpu.uuid for gpu in gpus}
    found: dict[GpuUuid, str] = {}
    unclear: list[str] = []
    for entry in sorted(entries, key=lambda each: (each.namespace, each.pod, each.container, each.giver)):
        named = [gpu.uuid for gpu in gpus if any(_names(device, gpu) for device in entry.devices)]
        why = f"{entry.giver} gave it to pod {entry.namespace}/{entry.pod}, container {entry.container}"
        for uuid in named:
            found.setdefault(uuid, why)
        if not named and entry.giver == _NVIDIA_DRA_DRIVER and not any(map(_has_uuid, entry.devices)):
            unclear.append(
                f"{entry.giver} gave {', '.join(sorted(entry.devices)) or 'a device'} to pod "
                f"{entry.namespace}/{entry.pod}; which GPU that is is not known"
            )
    named_by_uuid = {(each.namespace, each.pod, each.giver) for each in entries if any(map(_has_uuid, each.devices))}
    for guest in sorted(guests, key=lambda each: (each.gpu, each.namespace, each.pod)):
        for giver in sorted(guest.givers):
            # Devices that name other GPUs do not explain why it runs on this one.
            if guest.gpu in ours and (guest.namespace, guest.pod, giver) not in named_by_uuid:
                found.setdefault(guest.gpu, f"pod {guest.namespace}/{guest.pod} runs on it and has {giver}")
    return Conflicts(found, tuple(unclear))


def may_give_gpus(resource: str) -> bool:
    """Whether a resource of another device plugin may stand for GPUs, by its name."""
    return bool(_GPU_NAME.search(resource.lower()))


def _names(device: str, gpu: GpuSample) -> bool:
    """Whether an ID contains the GPU's UUID, or of a MIG device that of its GPU, not as part of a longer word."""
    parts = [device.partition(uuid) for uuid in names_of(gpu.uuid, gpu.mig)]
    return any(match and not before[-1:].isalnum() and not after[:1].isalnum() for before, match, after in parts)


def _has_uuid(device: str) -> bool:
    return "GPU-" in device or "MIG-" in device
