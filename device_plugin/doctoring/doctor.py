"""The command line of the doctor: prints what is wrong on this machine, and sets the exit code."""

import json
from collections.abc import Iterable
from pathlib import Path

import click

from device_plugin.doctoring.checks import check_node, check_rights
from device_plugin.doctoring.facts import Rights
from device_plugin.doctoring.gathering import gather_node
from device_plugin.doctoring.rights import gather_rights
from device_plugin.enforcing.mps import MpsControl
from device_plugin.sampling.nvml import load_pynvml
from device_plugin.settings import KUBELET_SOCKET, USER_AGENT, DeviceListStrategy, MigStrategy, Settings
from extender.contract.findings import Finding, Level, worst
from extender.contract.units import DEFAULT_UNIT_MIB, UNIT_CHOICES_MIB
from extender.kube.client import connect
from extender.kube.errors import KubeConfigError

_DEFAULTS = Settings(node_name="default")
_GUARDS = _DEFAULTS.safeguards
_MARKS = {Level.OK: "ok     ", Level.NOTE: "note   ", Level.WARNING: "WARNING", Level.ERROR: "ERROR  "}


# Options that running the plugin takes, too.
kubeconfig_option = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="the pod's service account",
    help="Kubeconfig file that says how to reach the API server.",
)
podresources_option = click.option(
    "--podresources-socket",
    type=click.Path(path_type=Path),
    default=_DEFAULTS.podresources_socket,
    help="The kubelet's podresources socket.",
)
strategy_option = click.option(
    "--device-list-strategy",
    type=click.Choice([strategy.value for strategy in DeviceListStrategy]),
    default=_DEFAULTS.device_list_strategy.value,
    help="How the container runtime is told which GPUs to give: NVIDIA_VISIBLE_DEVICES, or CDI device names.",
)
mig_option = click.option(
    "--mig",
    type=click.Choice([strategy.value for strategy in MigStrategy]),
    default=_DEFAULTS.mig.value,
    help="GPUs in MIG mode: leave them out, or offer each of their MIG devices as a GPU.",
)
unit_option = click.option(
    "--memory-unit-mib",
    type=click.Choice([str(choice) for choice in UNIT_CHOICES_MIB]),
    default=str(DEFAULT_UNIT_MIB),
    help="Size of one unit of gpu-mem in MiB.",
)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "GPUPACK", "max_content_width": 120})
@kubeconfig_option
@click.option(
    "--host-root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Where the node's file system is mounted, for configuration files, CDI and the driver.",
)
@click.option("--kubelet-dir", type=click.Path(path_type=Path), default=_DEFAULTS.kubelet_dir, help="As the plugin's.")
@podresources_option
@strategy_option
@mig_option
@unit_option
@click.option("--mps-pipe-directory", type=click.Path(path_type=Path), show_default="no MPS", help="As the plugin's.")
@click.option("--mps-control", default=_GUARDS.mps_control, help="As the plugin's.")
@click.option("--evict-overuse/--no-evict-overuse", default=_GUARDS.evict_overuse, help="As the plugin's.")
@click.option("--rights/--no-rights", "ask_rights", default=True, help="Ask the API server for the plugin's rights.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(  # noqa: PLR0917 - click passes options by name
    kubeconfig: Path | None,
    host_root: Path,
    kubelet_dir: Path,
    podresources_socket: Path,
    device_list_strategy: str,
    mig: str,
    memory_unit_mib: str,
    mps_pipe_directory: Path | None,
    mps_control: str,
    evict_overuse: bool,  # noqa: FBT001 - click passes options by name
    ask_rights: bool,  # noqa: FBT001 - click passes options by name
    as_json: bool,  # noqa: FBT001 - click passes options by name
) -> None:
    """Find out why this machine cannot share GPUs.

    Checks this machine and the plugin's own rights, says what to do about each problem, and changes nothing. The
    cluster is checked by kubectl gpupack doctor. The exit code is 1 when there is an error, 0 otherwise.
    """
    facts = gather_node(
        root=host_root,
        sockets=(kubelet_dir / KUBELET_SOCKET, podresources_socket),
        strategy=device_list_strategy,
        mps=None if mps_pipe_directory is None else MpsControl(mps_pipe_directory, mps_control),
        load_pynvml=load_pynvml,
        mig_strategy=mig,
        memory_unit_mib=int(memory_unit_mib),
    )
    findings = check_node(facts)
    if ask_rights:
        findings.append(check_rights(_rights(kubeconfig, evicts=evict_overuse)))
    click.echo(json.dumps([each.to_object() for each in findings], indent=2) if as_json else report(findings))
    if worst(findings) is Level.ERROR:
        raise click.exceptions.Exit(1)


def _rights(kubeconfig: Path | None, *, evicts: bool) -> Rights:
    try:
        api = connect(None if kubeconfig is None else str(kubeconfig), user_agent=USER_AGENT)
    except KubeConfigError as error:
        return Rights(unreachable=str(error))
    try:
        return gather_rights(api, evicts=evicts)
    finally:
        api.close()


def report(findings: Iterable[Finding]) -> str:
    """The findings as text, one a line with the advice below it, and a count at the end."""
    lines: list[str] = []
    counts = dict.fromkeys(Level, 0)
    for finding in findings:
        counts[finding.level] += 1
        lines.append(f"{_MARKS[finding.level]} {finding.check:<12} {finding.found}")
        if finding.advice:
            lines.append(f"{'':21}-> {finding.advice}")
    lines.append(f"{counts[Level.ERROR]} errors, {counts[Level.WARNING]} warnings")
    return "\n".join(lines)
