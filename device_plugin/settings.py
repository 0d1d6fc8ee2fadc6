"""Holds every setting of the plugin, checked at birth, and the few types that settings are made of."""

import re
from dataclasses import dataclass, field, fields
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from extender.contract.names import Names
from extender.contract.quantity import parse_digits
from extender.contract.units import DEFAULT_UNIT_MIB, UnitMib, check_unit_mib

LONGEST_SOCKET_PATH = 107
"""Bytes that a UNIX socket's path may have on Linux (sun_path holds 108 with the terminating zero)."""

KUBELET_SOCKET = "kubelet.sock"
USER_AGENT = "gpupack-device-plugin"
"""Name of the plugin at the API server: in requests, and as the source of Events."""

_ROOM_FOR_TEMPORARY_NAME = 12
_TAINT_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


class SettingsError(ValueError):
    """A setting that cannot work; the message names it, its value and what was expected."""


class Rung(Enum):
    """How a container is held to its share of a GPU, best first."""

    DRIVER = "driver"  # the driver refuses allocations beyond the limit of the container's cgroup
    MPS = "mps"  # the MPS server refuses allocations beyond each client process's limit
    WATCHED = "watched"  # use is measured per container; overuse is reported, and ends the pod where eviction is on
    ADVISORY = "advisory"  # the container is told its share and trusted to respect it


LADDER = tuple(Rung)
"""Best first."""


@dataclass(frozen=True, slots=True)
class MpsAccess:
    """Folders of the node through which a container reaches the MPS control daemon."""

    pipe_directory: PurePath
    shm_directory: PurePath


class DeviceListStrategy(Enum):
    """How the container runtime learns which GPUs to give; the names are those of NVIDIA's device plugin."""

    ENVVAR = "envvar"  # NVIDIA_VISIBLE_DEVICES, read by the nvidia runtime
    CDI_CRI = "cdi-cri"  # CDI device names in the kubelet's own field for them


class NumaHints(Enum):
    """For which resources the kubelet learns on which NUMA node each device is."""

    NONE = "none"  # the topology manager aligns nothing to GPUs
    WHOLE_GPUS = "whole-gpus"  # containers with whole GPUs are aligned to them


class MigStrategy(Enum):
    """What is done with GPUs in MIG mode."""

    OFF = "off"  # they are left out
    SLICES = "slices"  # each of their MIG devices is a GPU


class Resource(Enum):
    """The extended resources that the plugin serves."""

    MEMORY = "gpu-mem"
    WHOLE = "gpu"
    CORE = "gpu-core"

    def name_in(self, names: Names) -> str:
        """The resource's name in an installation."""
        return {
            Resource.MEMORY: names.memory_resource,
            Resource.WHOLE: names.gpu_resource,
            Resource.CORE: names.core_resource,
        }[self]


_MOST_MIB = 1 << 21
"""More memory than any GPU has."""


@dataclass(frozen=True, slots=True)
class GivenMemory:
    """Memory in MiB, by patterns of product names, of GPUs that share the machine's, of which NVML gives no size.

    A pattern is a shell pattern (GB10, Jetson); case does not matter, and blanks are as good as hyphens. The first that
    matches counts.

    Raises:
        ValueError: not 1 to 2,097,152 MiB, or an empty pattern.
    """

    sizes_mib: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for pattern, size_mib in self.sizes_mib:
            if not pattern or not 1 <= size_mib <= _MOST_MIB:
                raise ValueError(f"{pattern!r} with {size_mib} MiB: expected a pattern and 1 to {_MOST_MIB} MiB")

    def mib_of(self, model: str) -> int | None:
        """Memory of a GPU of that product name; None when nothing is set for it."""
        name = _folded(model)
        return next((size for pattern, size in self.sizes_mib if fnmatchcase(name, _folded(pattern))), None)

    def __str__(self) -> str:
        return ",".join(f"{pattern}={size_mib}" for pattern, size_mib in self.sizes_mib)


def parse_given_memory(text: str) -> GivenMemory:
    """Read `N`, or `PATTERN=N,PATTERN=N,...` where nodes have different ones, in MiB.

    Raises:
        ValueError: not of that form.
    """
    sizes = []
    for part in text.split(",") if text.strip() else []:
        pattern, equals, digits = part.rpartition("=")
        size_mib = parse_digits(digits.strip())
        if size_mib is None:
            raise ValueError(f"{text!r}: expected N, or PATTERN=N,... such as *GB10*=110000")
        sizes.append((pattern.strip() if equals else "*", size_mib))
    return GivenMemory(tuple(sizes))


def _folded(text: str) -> str:
    return "-".join(text.upper().split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Safeguards:
    """How the plugin holds containers to their share and when it trusts a GPU.

    Args:
        enforcement: the best rung of the ladder that may be used; below it, what is proven on each GPU decides.
        cgroup_root: where the cgroup file system of the node is mounted.
        mps_pipe_directory: the MPS control daemon's pipe directory, the same path on the node and here; None: no MPS.
        mps_shm_directory: folder of the node that the daemon has as /dev/shm.
        mps_control: the daemon's control program.
        probe_interval_s: time between two probes of what can be enforced, and of what is enforced.
        overuse_grace_s: how long a container may exceed its share before that is reported.
        overuse_tolerance_mib: excess that is tolerated.
        evict_overuse: whether reported pods are evicted, through the Eviction API.
        probation_s: how long a GPU that was unhealthy must be healthy before it is used again.
        ignored_xids: XIDs that do not make a GPU unhealthy, in addition to those of applications.
        driver_timeout_s: how long a call into the driver may take before its GPUs count as unhealthy.
        restart_after_s: how long the GPUs may be unreadable before /healthz asks for a new container; 0: for ever.

    Raises:
        SettingsError: a value that cannot work.
    """

    enforcement: Rung = Rung.DRIVER
    cgroup_root: Path = Path("/sys/fs/cgroup")
    mps_pipe_directory: Path | None = None
    mps_shm_directory: Path = Path("/dev/shm")  # noqa: S108 - where MPS keeps its shared memory
    mps_control: str = "nvidia-cuda-mps-control"
    probe_interval_s: float = 30.0
    overuse_grace_s: float = 60.0
    overuse_tolerance_mib: int = 64
    evict_overuse: bool = False
    probation_s: float = 30.0
    ignored_xids: frozenset[int] = frozenset()
    driver_timeout_s: float = 10.0
    restart_after_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0.05 <= self.probe_interval_s <= 3600:
            raise SettingsError(f"probe_interval_s {self.probe_interval_s}: expected 0.05 to 3600 seconds")
        if not 0.05 <= self.driver_timeout_s <= 3600:
            raise SettingsError(f"driver_timeout_s {self.driver_timeout_s}: expected 0.05 to 3600 seconds")
        for what in ("overuse_grace_s", "probation_s", "restart_after_s"):
            if not 0 <= getattr(self, what) <= 86400:
                raise SettingsError(f"{what} {getattr(self, what)}: expected 0 to 86400 seconds")
        if not 0 <= self.overuse_tolerance_mib <= 1 << 20:
            raise SettingsError(f"overuse_tolerance_mib {self.overuse_tolerance_mib}: expected 0 to {1 << 20} MiB")
        if self.mps_pipe_directory is not None and not self.mps_pipe_directory.is_absolute():
            raise SettingsError(f"mps_pipe_directory {str(self.mps_pipe_directory)!r}: expected an absolute path")
        if any(not 0 <= xid < 1 << 16 for xid in self.ignored_xids):
            raise SettingsError(f"ignored_xids {sorted(self.ignored_xids)}: expected numbers from 0 to {(1 << 16) - 1}")

    @property
    def mps(self) -> MpsAccess | None:
        """How containers reach the MPS daemon, where there is one."""
        if self.mps_pipe_directory is None:
            return None
        return MpsAccess(self.mps_pipe_directory, self.mps_shm_directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one device plugin runs.

    Args:
        node_name: the Node object of this machine.
        kubeconfig: how to reach the API server; None takes the pod's service account.
        kubelet_dir: the kubelet's device plugin folder, with kubelet.sock.
        podresources_socket: the kubelet's podresources socket.
        gpus: `nvml`, or a YAML file of simulated GPUs (see `device_plugin.sampling.gpu_file`).
        listen: HOST:PORT of /healthz, /readyz and /metrics; port 0 takes a free one.
        memory_unit_mib: size of one unit of gpu-mem.
        gpu_memory_mib: memory of GPUs of which NVML gives no size.
        prefix: domain in front of every resource and annotation.
        gpu_resource: name of the whole-GPU resource; empty for `<prefix>/gpu`.
        device_list_strategy: how the container runtime learns the GPUs.
        device_specs: whether the kubelet is told the GPUs' device nodes; never with CDI, which tells them itself.
        dev_root: where the node's /dev is.
        numa_hints: for which resources the kubelet's topology manager learns of NUMA nodes.
        mig: what is done with GPUs in MIG mode.
        sample_interval_s: time between two samples of the GPUs' health.
        reconcile_interval_s: time between two comparisons of podresources with the pods' annotations.
        measure_interval_s: time between two measurements of what each container uses.
        report_interval_s: least time between two reports of memory used outside of pods; health does not wait.
        proc_root: where the node's /proc is.
        startup_taints: keys of taints that are removed from the Node once the kubelet offers the resources.
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
    gpu_memory_mib: GivenMemory = field(default_factory=GivenMemory)
    prefix: str = "gpupack.io"
    gpu_resource: str = ""
    device_list_strategy: DeviceListStrategy = DeviceListStrategy.ENVVAR
    device_specs: bool = True
    dev_root: Path = Path("/dev")
    numa_hints: NumaHints = NumaHints.NONE
    mig: MigStrategy = MigStrategy.OFF
    sample_interval_s: float = 1.0
    reconcile_interval_s: float = 10.0
    measure_interval_s: float = 5.0
    report_interval_s: float = 30.0
    proc_root: Path = Path("/proc")
    startup_taints: frozenset[str] = frozenset()
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
        for key in sorted(self.startup_taints):
            if not _TAINT_KEY.fullmatch(key):
                raise SettingsError(f"startup taint {key!r}: expected the key of a taint, such as example.com/gpus")
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
        host, colon, digits = self.listen.rpartition(":")
        port = parse_digits(digits)
        if not (colon and host) or port is None or port > 65535:
            raise SettingsError(f"listen {self.listen!r}: expected HOST:PORT such as 127.0.0.1:39998 or [::]:39998")
        return host.strip("[]"), port

    def socket_name(self, resource: Resource) -> str:
        """File name of the plugin's socket for a resource; installations with other prefixes get other names."""
        owner = "gpupack" if self.prefix == "gpupack.io" else self.prefix
        return f"{owner}-{resource.value}.sock"

    @property
    def names_device_nodes(self) -> bool:
        """Whether the kubelet is told which device nodes a container gets; CDI tells it otherwise."""
        return self.device_specs and self.device_list_strategy is not DeviceListStrategy.CDI_CRI

    @property
    def kubelet_socket(self) -> Path:
        """The socket on which the kubelet takes registrations."""
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
    return str(value) if isinstance(value, Path | GivenMemory) else value
