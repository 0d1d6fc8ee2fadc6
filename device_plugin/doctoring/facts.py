"""Holds what was seen on one machine and of the plugin's rights, for the checks to judge."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """What a configuration file of a container runtime says.

    Args:
        has_nvidia: whether it names nvidia at all.
        default: the name of the default runtime; empty where the file does not say.
        of: the container runtime that reads it.
    """

    has_nvidia: bool = False
    default: str = ""
    of: str = ""


@dataclass(frozen=True, slots=True)
class CdiFile:
    """A CDI specification: the kind of its devices, empty when it cannot be read, and their names without the kind."""

    kind: str = ""
    devices: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MigFacts:
    """A GPU in MIG mode, or one that will be after its next reset.

    Args:
        uuid: its UUID.
        is_on: whether MIG mode is on.
        will_be_on: whether it is after the next reset.
        is_monitored: whether this process may see all its MIG devices together, as their events need.
        sizes_mib: memory of each MIG device that can be offered, by UUID.
        left_out: why others, or all, cannot be.
    """

    uuid: str
    is_on: bool
    will_be_on: bool
    is_monitored: bool = False
    sizes_mib: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What was seen on this machine.

    Args:
        driver: the driver's version; empty without a loaded driver.
        nvml_problem: why NVML cannot be asked; empty when it answered.
        gpus: UUID and what keeps it from being shared (empty for nothing) of every GPU that NVML shows.
        toolkit: the container toolkit's version; empty when its program was not found.
        runtime_files: configuration files of container runtimes, in the order in which later ones win.
        kubelet_runtime: the container runtime that the kubelet uses; empty where no runtime is seen.
        cdi_files: every CDI specification.
        cgroup_version: 2, 1, or 0 when no cgroup file system was found.
        mps_problem: why the MPS daemon cannot be used; None when no pipe directory is set.
        mps_servers: how many MPS servers run.
        sockets: what is at the path of each socket that the plugin needs: `socket`, `absent`, `no access` or `file`.
        kubelet_roots: root folders of the kubelets that were found, whatever the settings say.
        strategy: the plugin's device list strategy.
        mig: the GPUs in MIG mode, or about to change it.
        mig_strategy: what the plugin does with GPUs in MIG mode.
        memory_unit_mib: size of the plugin's memory units.
    """

    driver: str = ""
    nvml_problem: str = ""
    gpus: Mapping[str, str] = field(default_factory=dict)
    toolkit: str = ""
    runtime_files: Mapping[str, RuntimeFile] = field(default_factory=dict)
    kubelet_runtime: str = ""
    cdi_files: Mapping[str, CdiFile] = field(default_factory=dict)
    cgroup_version: int = 0
    mps_problem: str | None = None
    mps_servers: int = 0
    sockets: Mapping[str, str] = field(default_factory=dict)
    kubelet_roots: tuple[str, ...] = ()
    strategy: str = "envvar"
    mig: tuple[MigFacts, ...] = ()
    mig_strategy: str = "off"
    memory_unit_mib: int = 1024


@dataclass(frozen=True, slots=True)
class Rights:
    """The plugin's rights at the API server.

    Args:
        denied: rights that the plugin needs and the caller lacks, as `verb resource`.
        problem: why the rights are not known; empty when they are.
        unreachable: why the API server cannot be asked at all; empty when it can.
    """

    denied: tuple[str, ...] = ()
    problem: str = ""
    unreachable: str = ""
