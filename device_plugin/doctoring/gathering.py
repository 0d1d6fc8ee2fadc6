"""Gathers facts about this machine from its files, sockets and driver; what cannot be seen is reported, not guessed."""

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from device_plugin.doctoring.container_runtimes import kubelet_runtime, runtime_files
from device_plugin.doctoring.distributions import cdi_files, kubelet_roots, read_text
from device_plugin.doctoring.facts import NodeFacts
from device_plugin.doctoring.mig_checks import gather_mig, shared_gpus
from device_plugin.enforcing.mps import MpsControl, MpsError
from device_plugin.gpus.gpu import GpuSourceStalledError
from device_plugin.sampling.bounded import BoundedCalls
from device_plugin.sampling.nvml_asking import identify, mig_mode
from device_plugin.settings import MigStrategy
from extender.contract.units import DEFAULT_UNIT_MIB

_TIMEOUT_S = 5.0


def gather_node(
    *,
    root: Path,
    sockets: Iterable[Path],
    strategy: str,
    mps: MpsControl | None,
    load_pynvml: Callable[[], Any],
    toolkit_program: str = "nvidia-ctk",
    driver_timeout_s: float = 10.0,
    mig_strategy: str = MigStrategy.OFF.value,
    memory_unit_mib: int = DEFAULT_UNIT_MIB,
) -> NodeFacts:
    """Gather all facts once.

    Args:
        root: the node's file system; `/` on the node itself.
        sockets: the kubelet's sockets that the plugin needs.
        strategy: the plugin's device list strategy.
        mps: the MPS control daemon, None when no pipe directory is set.
        load_pynvml: imports the NVML binding.
        toolkit_program: nvidia-ctk, or its path.
        driver_timeout_s: how long the driver may take to answer.
        mig_strategy: what the plugin does with GPUs in MIG mode.
        memory_unit_mib: size of the plugin's memory units.
    """
    nvml_problem, gpus = patient_nvml_gpus(load_pynvml, driver_timeout_s)
    mig = () if nvml_problem else gather_mig(load_pynvml, driver_timeout_s)
    mps_problem, servers = mps_state(mps)
    return NodeFacts(
        driver=driver_version(root),
        nvml_problem=nvml_problem,
        gpus=shared_gpus(gpus, mig) if mig_strategy == MigStrategy.SLICES.value else gpus,
        toolkit=toolkit_version(toolkit_program),
        runtime_files=runtime_files(root),
        kubelet_runtime=kubelet_runtime(root),
        cdi_files=cdi_files(root),
        cgroup_version=cgroup_version(root),
        mps_problem=mps_problem,
        mps_servers=servers,
        sockets={str(path): socket_state(path) for path in sockets},
        kubelet_roots=kubelet_roots(root),
        strategy=strategy,
        mig=mig,
        mig_strategy=mig_strategy,
        memory_unit_mib=memory_unit_mib,
    )


def driver_version(root: Path) -> str:
    """Version of the loaded driver; empty without one."""
    text = read_text(root / "proc/driver/nvidia/version") or read_text(root / "sys/module/nvidia/version")
    match = re.search(r"\b\d{3,}\.\d+(\.\d+)*", text)
    return match[0] if match else ""


def patient_nvml_gpus(load_pynvml: Callable[[], Any], timeout_s: float) -> tuple[str, dict[str, str]]:
    """What `nvml_gpus` finds, also when a call into the driver does not return."""
    calls = BoundedCalls("doctor", timeout_s)
    try:
        return calls.call(lambda: nvml_gpus(load_pynvml))
    except GpuSourceStalledError as error:
        return f"NVML cannot be asked: {error}", {}
    finally:
        calls.leave()


def nvml_gpus(load_pynvml: Callable[[], Any]) -> tuple[str, dict[str, str]]:
    """What is wrong with NVML, and its GPUs' UUIDs with what keeps each from being shared."""
    try:
        nvml = load_pynvml()
    except ImportError as error:
        return f"the binding nvidia-ml-py is not installed: {error}", {}
    found: dict[str, str] = {}
    try:
        nvml.nvmlInit()
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                uuid, problem = _gpu(nvml, index)
                found[uuid] = problem
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return f"NVML cannot be asked: {error}", found
    return "", found


def _gpu(nvml: Any, index: int) -> tuple[str, str]:
    seen = identify(nvml, index)
    if seen.uuid is None:
        return f"(index {index})", seen.problem
    mode = mig_mode(nvml, seen.handle)
    return seen.uuid, mode.trouble or ("MIG is enabled" if mode.value else "")


def toolkit_version(program: str) -> str:
    """Version of the container toolkit; empty where its program is not found or does not answer."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+\.\d+\.\d+\S*", done.stdout)
    return match[0] if match else ""


def cgroup_version(root: Path) -> int:
    """2, 1, or 0 when there is no cgroup file system; a hybrid one counts as 1."""
    folder = root / "sys/fs/cgroup"
    if (folder / "cgroup.controllers").exists():
        return 2
    return 1 if any((folder / name).exists() for name in ("memory", "cpu", "unified")) else 0


def mps_state(mps: MpsControl | None) -> tuple[str | None, int]:
    """Why the daemon cannot be used (None: it is not wanted), and how many servers it has."""
    if mps is None:
        return None, 0
    try:
        return "", len(mps.state().servers)
    except MpsError as error:
        return str(error), 0


def socket_state(path: Path) -> str:
    """What is at a path: `socket`, `absent`, `no access` or `file`."""
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "no access"
    except OSError:
        return "absent"
    if not stat.S_ISSOCK(mode):
        return "file"
    return "socket" if os.access(path, os.W_OK) else "no access"
