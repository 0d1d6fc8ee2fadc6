"""Finds the device nodes of GPUs, for the kubelet to give them to containers itself.

Where the NVIDIA runtime alone adds the nodes, neither systemd nor the runtime's later updates know of them, and either
takes the access away from running containers: `systemctl daemon-reload` where systemd manages the cgroups, and the
static CPU manager whenever it moves a container. What a device plugin names in DeviceSpec stays.

Nodes of MIG devices: https://docs.nvidia.com/datacenter/tesla/mig-user-guide (device nodes and capabilities).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.gpus.readings import GpuFacts
from extender.contract.quantity import parse_digits
from extender.contract.units import GpuUuid

_DEV = PurePosixPath("/dev")
_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""What every program that uses a GPU opens, and what only some nodes have."""

_CAPABILITIES = Path("/proc/driver/nvidia/capabilities")
_MINOR = "DeviceFileMinor:"


class DeviceNodes:
    """The device nodes of GPUs, as far as the node has them: one that is missing would keep a container from starting.

    Args:
        facts: what NVML said of each GPU; one whose minor number is not known has no node.
        dev_root: where the node's /dev is seen.
        capabilities: where the driver says which nodes MIG devices have.
    """

    def __init__(
        self,
        facts: Callable[[], Mapping[GpuUuid, GpuFacts]],
        dev_root: Path = Path("/dev"),
        capabilities: Path = _CAPABILITIES,
    ) -> None:
        self._facts = facts
        self._dev_root = dev_root
        self._capabilities = capabilities

    def of(self, uuids: Iterable[GpuUuid], gpus: Gpus) -> tuple[str, ...]:
        """Paths on the node of what a container with these GPUs opens; none where no GPU has a node."""
        own: list[str] = []
        for uuid in uuids:
            sample = gpus.get(uuid)
            if sample is not None:
                own += [name for name in self._own(sample) if name not in own]
        there = [name for name in own if (self._dev_root / name).exists()]
        if not there:
            return ()
        shared = [name for name in _SHARED if (self._dev_root / name).exists()]
        return tuple(str(_DEV / name) for name in [*there, *shared])

    def _own(self, sample: GpuSample) -> list[str]:
        """Names below /dev of one GPU's or MIG device's own nodes."""
        facts = self._facts().get(sample.uuid if sample.mig is None else sample.mig.parent)
        minor = None if facts is None else facts.minor_number
        if minor is None:
            return []
        names = [f"nvidia{minor}"]
        if sample.mig is not None:
            instance = self._capabilities / f"gpu{minor}" / "mig" / f"gi{sample.mig.gi}"
            for access in (instance / "access", instance / f"ci{sample.mig.ci}" / "access"):
                names += [f"nvidia-caps/nvidia-cap{number}" for number in _minors(access)]
        return names


def _minors(access: Path) -> list[int]:
    """The minor number that a file of the driver names, if there is such a file."""
    with suppress(OSError, UnicodeDecodeError):
        for line in access.read_text(encoding="ascii").splitlines():
            if line.startswith(_MINOR):
                number = parse_digits(line.removeprefix(_MINOR).strip())
                return [] if number is None else [number]
    return []
