"""From command line options and GPUPACK_... variables to one checked Settings value."""

from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path

from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, UnitMib, check_unit_mib

from .advertising import Resource
from .allocating import DeviceListStrategy
from .publishing import DEFAULT_FLOOR_S
from .safeguards import Safeguards

LONGEST_SOCKET_PATH = 107
"""Bytes that a UNIX socket's path may have on Linux (sun_path holds 108 with the closing zero)."""

KUBELET_SOCKET = "kubelet.sock"
_ROOM_FOR_TEMPORARY_NAME = 12


class SettingsError(ValueError):
    """A setting that cannot work; the message names it, its value and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one device plugin runs.

    Args:
        node_name: the Node object of this machine.
        kubeconfig: how to reach the API server; None takes the pod's service account.
        kubelet_dir: the kubelet's device plugin folder, with kubelet.sock.
        podresources_socket: the kubelet's podresources socket.
        gpus: `nvml`, or a YAML file of simulated GPUs (see `device_plugin.simulated`).
        listen: HOST:PORT of /healthz, /readyz and /metrics; port 0 takes a free one.
        memory_unit_mib: size of one unit of gpu-mem.
        prefix: domain in front of every resource and annotation.
        gpu_resource: name of the whole-GPU resource; empty for `<prefix>/gpu`.
        device_list_strategy: how the container runtime learns the GPUs.
        sample_interval_s: time between two looks at the GPUs.
        reconcile_interval_s: time between two comparisons of podresources with the pods' annotations.
        measure_interval_s: time between two measurements of who uses what.
        report_interval_s: least time between two reports of memory in use outside of the ledger; health does not wait.
        proc_root: where the node's /proc is.
        safeguards: how shares are enforced, and which GPUs are kept out of service.

    Raises:
        SettingsError: a value that cannot work.
    """

    node_name: str
    kubeconfig: Path | None = None
    kubelet_dir: Path = Path("/var/lib/kubelet/device-plugins")
    podresources_socket: Path = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    gpus: str = "nvml"
    listen: str = "127.0.0.1:39998"
    memory_unit_mib: UnitMib = DEFAULT_UNIT_MIB
    prefix: str = "gpupack.io"
    gpu_resource: str = ""
    device_list_strategy: DeviceListStrategy = DeviceListStrategy.ENVVAR
    sample_interval_s: float = 1.0
    reconcile_interval_s: float = 10.0
    measure_interval_s: float = 5.0
    report_interval_s: float = DEFAULT_FLOOR_S
    proc_root: Path = Path("/proc")
    safeguards: Safeguards = field(default_factory=Safeguards)
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        if not self.node_name:
            raise SettingsError("node name '': expected the name of this machine's Node object")
        try:
            check_unit_mib(self.memory_unit_mib)
            object.__setattr__(self, "names", Names(self.prefix, self.gpu_resource))
        except ValueError as error:
            raise SettingsError(str(error)) from error
        if not self.gpus:
            raise SettingsError("gpus '': expected nvml or a YAML file")
        self.address()
        for what in ("sample_interval_s", "reconcile_interval_s", "measure_interval_s", "report_interval_s"):
            if not 0.05 <= getattr(self, what) <= 3600:
                raise SettingsError(f"{what} {getattr(self, what)}: expected 0.05 to 3600 seconds")
        longest = max(len(self.socket_name(resource)) for resource in Resource) + _ROOM_FOR_TEMPORARY_NAME
        if len(str(self.kubelet_dir).encode()) + 1 + longest > LONGEST_SOCKET_PATH:
            most = LONGEST_SOCKET_PATH - 1 - longest
            raise SettingsError(f"kubelet dir {str(self.kubelet_dir)!r}: expected at most {most} bytes (UNIX sockets)")

    def address(self) -> tuple[str, int]:
        """Host and port to listen on.

        Raises:
            SettingsError: not HOST:PORT.
        """
        host, colon, port = self.listen.rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
            raise SettingsError(f"listen {self.listen!r}: expected HOST:PORT such as 127.0.0.1:39998 or [::]:39998")
        return host.strip("[]"), int(port)

    def socket_name(self, resource: Resource) -> str:
        """File name of the plugin's socket for a resource; installations with other prefixes get other names."""
        owner = "gpupack" if self.prefix == "gpupack.io" else self.prefix
        return f"{owner}-{resource.value}.sock"

    @property
    def kubelet_socket(self) -> Path:
        """Where the kubelet takes registrations."""
        return self.kubelet_dir / KUBELET_SOCKET

    def effective(self) -> dict[str, object]:
        """Every setting by name as plain values, for the log."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("names", "safeguards")}
        more = {each.name: getattr(self.safeguards, each.name) for each in fields(self.safeguards)}
        return {name: _plain(value) for name, value in {**own, **more}.items()}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset):
        return ",".join(map(str, sorted(value)))
    return str(value) if isinstance(value, Path) else value
