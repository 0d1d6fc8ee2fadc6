"""Turns command-line options and GPUPACK_... variables into Settings, runs the plugin and sets the exit code."""

import logging
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from device_plugin.doctoring.doctor import (
    doctor,
    kubeconfig_option,
    mig_option,
    podresources_option,
    strategy_option,
    unit_option,
)
from device_plugin.loops import stopping_at_signals
from device_plugin.settings import (
    LADDER,
    DeviceListStrategy,
    GivenMemory,
    MigStrategy,
    NumaHints,
    Rung,
    Safeguards,
    Settings,
    SettingsError,
    parse_given_memory,
)
from extender.contract.quantity import parse_digits
from extender.contract.units import UnitMib

_DEFAULTS = Settings(node_name="default")
_GUARDS = _DEFAULTS.safeguards
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(
    invoke_without_command=True,
    context_settings={"show_default": True, "auto_envvar_prefix": "GPUPACK", "max_content_width": 120},
)
@click.option(
    "--node-name", envvar=["GPUPACK_NODE_NAME", "NODE_NAME"], help="Name of this machine's Node object; required."
)
@kubeconfig_option
@click.option(
    "--kubelet-dir",
    type=_FOLDER,
    default=_DEFAULTS.kubelet_dir,
    help="The kubelet's device plugin folder, with kubelet.sock.",
)
@podresources_option
@click.option(
    "--gpus",
    default=_DEFAULTS.gpus,
    metavar="nvml|FILE.yaml",
    help="Real GPUs, or a file of simulated ones.",
)
@click.option(
    "--listen",
    default=_DEFAULTS.listen,
    metavar="HOST:PORT",
    help="Address of /healthz, /readyz and /metrics; port 0 takes a free one.",
)
@unit_option
@click.option(
    "--gpu-memory-mib",
    default="",
    show_default="left out",
    metavar="[MODEL=]N,...",
    help="Memory of GPUs that share the machine's, of which NVML gives no size; MODEL is a pattern such as *GB10*.",
)
@click.option("--prefix", default=_DEFAULTS.prefix, help="Domain in front of every resource and annotation.")
@click.option("--gpu-resource", default="", show_default="PREFIX/gpu", help="Name of the whole-GPU resource.")
@strategy_option
@click.option(
    "--device-specs/--no-device-specs",
    default=_DEFAULTS.device_specs,
    help="Tell the kubelet the GPUs' device nodes, so that containers keep them; not with CDI, which does so itself.",
)
@click.option(
    "--dev-root", type=_FOLDER, default=_DEFAULTS.dev_root, help="Where the node's /dev is, with the GPUs' nodes."
)
@click.option(
    "--numa-hints",
    type=click.Choice([hints.value for hints in NumaHints]),
    default=_DEFAULTS.numa_hints.value,
    help="Whether the kubelet's topology manager learns on which NUMA node whole GPUs are.",
)
@mig_option
@click.option(
    "--sample-interval-s",
    type=float,
    default=_DEFAULTS.sample_interval_s,
    help="Seconds between two samples of the GPUs' health.",
)
@click.option(
    "--reconcile-interval-s",
    type=float,
    default=_DEFAULTS.reconcile_interval_s,
    help="Seconds between two comparisons of the kubelet's account with the pods' annotations.",
)
@click.option(
    "--measure-interval-s",
    type=float,
    default=_DEFAULTS.measure_interval_s,
    help="Seconds between two measurements of what containers and others use of the GPUs.",
)
@click.option(
    "--report-interval-s",
    type=float,
    default=_DEFAULTS.report_interval_s,
    help="Minimum seconds between two reports of memory used outside of pods; health is reported at once.",
)
@click.option(
    "--proc-root",
    type=_FOLDER,
    default=_DEFAULTS.proc_root,
    help="Where the node's /proc is, in the node's PID namespace.",
)
@click.option(
    "--startup-taint",
    multiple=True,
    metavar="KEY",
    help="Taint that is removed from the node once its kubelet offers the resources; may be given several times.",
)
@click.option(
    "--enforcement",
    type=click.Choice([rung.value for rung in LADDER]),
    default=_GUARDS.enforcement.value,
    help="Best way of holding containers to their share that may be used; what is proven on each GPU decides.",
)
@click.option(
    "--cgroup-root", type=_FOLDER, default=_GUARDS.cgroup_root, help="Where the node's cgroup file system is mounted."
)
@click.option(
    "--mps-pipe-directory",
    type=_FOLDER,
    show_default="no MPS",
    help="Pipe directory of the MPS control daemon, the same path on the node and here.",
)
@click.option(
    "--mps-shm-directory",
    type=_FOLDER,
    default=_GUARDS.mps_shm_directory,
    help="Folder of the node that the MPS control daemon has as /dev/shm.",
)
@click.option("--mps-control", default=_GUARDS.mps_control, help="Control program of the MPS daemon.")
@click.option(
    "--probe-interval-s",
    type=float,
    default=_GUARDS.probe_interval_s,
    help="Seconds between two probes of what can be enforced, and of what is enforced.",
)
@click.option(
    "--overuse-grace-s",
    type=float,
    default=_GUARDS.overuse_grace_s,
    help="Seconds that a container may exceed its share before that is reported.",
)
@click.option(
    "--overuse-tolerance-mib",
    type=int,
    default=_GUARDS.overuse_tolerance_mib,
    help="MiB by which a container may exceed its share unreported.",
)
@click.option(
    "--evict-overuse/--no-evict-overuse",
    default=_GUARDS.evict_overuse,
    help="Evict the pods that are reported, as their PodDisruptionBudgets allow.",
)
@click.option(
    "--probation-s",
    type=float,
    default=_GUARDS.probation_s,
    help="Seconds that a GPU which was unhealthy must be healthy before it is used again.",
)
@click.option(
    "--driver-timeout-s",
    type=float,
    default=_GUARDS.driver_timeout_s,
    help="Seconds that a call into the driver may take before the GPUs count as unhealthy.",
)
@click.option(
    "--restart-after-s",
    type=float,
    default=_GUARDS.restart_after_s,
    help="Seconds that the GPUs may be unreadable before /healthz fails, to get a new container; 0 is never.",
)
@click.option(
    "--ignored-xids",
    default="",
    show_default="those of applications only",
    metavar="N,N,...",
    help="More XIDs that do not make a GPU unhealthy.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="Lowest level to log.",
)
def main(node_name: str | None, log_level: str, **options: Any) -> None:
    """Run the device plugin of this node: offer GPU memory, give containers the planned GPUs, report what they got.

    Every option can also come from the environment: --node-name from GPUPACK_NODE_NAME, and so on.
    SIGTERM or SIGINT ends it with exit code 0; settings that cannot work end it with 2.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if not node_name:
        raise click.UsageError("Missing option '--node-name'.")
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    from device_plugin.service import run  # noqa: PLC0415 - gRPC takes a tenth of a second that --help need not pay

    try:
        settings = settings_from(node_name, options)
        stop = threading.Event()
        with stopping_at_signals(stop):
            run(settings, stop, lambda port: logging.getLogger(__name__).info("listening on port %d", port))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def settings_from(node_name: str, options: dict[str, Any]) -> Settings:
    """The settings that the options, by parameter name, stand for.

    Raises:
        SettingsError: a value that cannot work.
    """
    given = {
        **options,
        "memory_unit_mib": UnitMib(int(options["memory_unit_mib"])),
        "gpu_memory_mib": parse_memory(options["gpu_memory_mib"]),
        "device_list_strategy": DeviceListStrategy(options["device_list_strategy"]),
        "numa_hints": NumaHints(options["numa_hints"]),
        "mig": MigStrategy(options["mig"]),
        "enforcement": Rung(options["enforcement"]),
        "ignored_xids": parse_xids(options["ignored_xids"]),
    }
    given["startup_taints"] = frozenset(given.pop("startup_taint"))
    guards = {each.name: given.pop(each.name) for each in fields(Safeguards)}
    return Settings(node_name=node_name, safeguards=Safeguards(**guards), **given)


def parse_memory(text: str) -> GivenMemory:
    """The memory of GPUs of which NVML gives no size.

    Raises:
        SettingsError: not of the form of `device_plugin.gpus.given_memory`.
    """
    try:
        return parse_given_memory(text)
    except ValueError as error:
        raise SettingsError(f"--gpu-memory-mib {error}, without quotes") from error


def parse_xids(text: str) -> frozenset[int]:
    """A comma-separated list of XID numbers.

    Raises:
        SettingsError: anything but numbers.
    """
    found = [parse_digits(part.strip()) for part in text.split(",") if part.strip()]
    if None in found:
        raise SettingsError(f"ignored_xids {text!r}: expected numbers and commas, such as 94,119")
    return frozenset(number for number in found if number is not None)


main.add_command(doctor)
