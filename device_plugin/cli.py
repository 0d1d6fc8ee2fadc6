"""From the command line to a running device plugin and an exit code."""

import logging
import sys
import threading
from pathlib import Path
from typing import Any

import click

from device_plugin.doctoring.doctor import doctor
from device_plugin.loops import stopping_at_signals
from device_plugin.settings import DeviceListStrategy, Settings, SettingsError, safeguards_from, with_safeguards
from extender.contract.units import DEFAULT_UNIT_MIB, UNIT_CHOICES_MIB, UnitMib

_DEFAULTS = Settings(node_name="default")


@click.group(
    invoke_without_command=True,
    context_settings={"show_default": True, "auto_envvar_prefix": "GPUPACK", "max_content_width": 120},
)
@click.option("--node-name", envvar=["GPUPACK_NODE_NAME", "NODE_NAME"], help="This machine's Node object; required.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="the pod's service account",
    help="How to reach the API server.",
)
@click.option(
    "--kubelet-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_DEFAULTS.kubelet_dir,
    help="The kubelet's device plugin folder, with kubelet.sock.",
)
@click.option(
    "--podresources-socket",
    type=click.Path(path_type=Path),
    default=_DEFAULTS.podresources_socket,
    help="The kubelet's podresources socket.",
)
@click.option(
    "--gpus", default=_DEFAULTS.gpus, metavar="nvml|FILE.yaml", help="Real GPUs, or a file of simulated ones."
)
@click.option(
    "--listen",
    default=_DEFAULTS.listen,
    metavar="HOST:PORT",
    help="Address of /healthz, /readyz and /metrics; port 0 takes a free one.",
)
@click.option(
    "--memory-unit-mib",
    type=click.Choice([str(choice) for choice in UNIT_CHOICES_MIB]),
    default=str(DEFAULT_UNIT_MIB),
    help="Size of one unit of gpu-mem in MiB.",
)
@click.option("--prefix", default=_DEFAULTS.prefix, help="Domain in front of every resource and annotation.")
@click.option("--gpu-resource", default="", show_default="PREFIX/gpu", help="Name of the whole-GPU resource.")
@click.option(
    "--device-list-strategy",
    type=click.Choice([strategy.value for strategy in DeviceListStrategy]),
    default=_DEFAULTS.device_list_strategy.value,
    help="How the container runtime learns which GPUs to give: NVIDIA_VISIBLE_DEVICES, or CDI device names.",
)
@click.option(
    "--sample-interval-s",
    type=float,
    default=_DEFAULTS.sample_interval_s,
    help="Seconds between two looks at the GPUs.",
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
    help="Least seconds between two reports of memory in use outside of the ledger; health is reported at once.",
)
@click.option(
    "--proc-root",
    type=click.Path(path_type=Path, file_okay=False),
    default=_DEFAULTS.proc_root,
    help="Where the node's /proc is, in the node's PID namespace.",
)
@with_safeguards
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="Least level logged."
)
def main(  # noqa: PLR0917 - click passes options by name
    node_name: str | None,
    kubeconfig: Path | None,
    kubelet_dir: Path,
    podresources_socket: Path,
    gpus: str,
    listen: str,
    memory_unit_mib: str,
    prefix: str,
    gpu_resource: str,
    device_list_strategy: str,
    sample_interval_s: float,
    reconcile_interval_s: float,
    measure_interval_s: float,
    report_interval_s: float,
    proc_root: Path,
    log_level: str,
    **guards: Any,
) -> None:
    """Advertise this node's GPU memory to the kubelet, give containers what the extender chose, and report back.

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
        settings = Settings(
            node_name=node_name,
            kubeconfig=kubeconfig,
            kubelet_dir=kubelet_dir,
            podresources_socket=podresources_socket,
            gpus=gpus,
            listen=listen,
            memory_unit_mib=UnitMib(int(memory_unit_mib)),
            prefix=prefix,
            gpu_resource=gpu_resource,
            device_list_strategy=DeviceListStrategy(device_list_strategy),
            sample_interval_s=sample_interval_s,
            reconcile_interval_s=reconcile_interval_s,
            measure_interval_s=measure_interval_s,
            report_interval_s=report_interval_s,
            proc_root=proc_root,
            safeguards=safeguards_from(guards),
        )
        stop = threading.Event()
        with stopping_at_signals(stop):
            run(settings, stop, lambda port: logging.getLogger(__name__).info("listening on port %d", port))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


main.add_command(doctor)
