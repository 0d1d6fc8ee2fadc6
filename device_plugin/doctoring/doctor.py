"""The command line of the doctor: prints what is wrong on this machine, and sets the exit code."""

import json
from collections.abc import Iterable
from pathlib import Path

import click

from device_plugin.cluster_facts import gather_cluster
from device_plugin.doctoring.checks import check_node
from device_plugin.doctoring.gathering import gather_node
from device_plugin.enforcing.mps import MpsControl
from device_plugin.kubeapi import connect
from device_plugin.sampling.nvml import load_pynvml
from device_plugin.settings import KUBELET_SOCKET, DeviceListStrategy, Safeguards, Settings, SettingsError
from extender.contract.findings import ClusterFacts, Finding, Level, report, worst
from extender.contract.names import Names
from extender.kubectl.doctoring.cluster_checks import check_cluster

_SETTINGS = Settings(node_name="default")
_GUARDS = Safeguards()


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "GPUPACK", "max_content_width": 120})
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="the pod's service account",
    help="How to reach the API server.",
)
@click.option(
    "--host-root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Where the node's file system is mounted, for configuration files, CDI and the driver.",
)
@click.option("--kubelet-dir", type=click.Path(path_type=Path), default=_SETTINGS.kubelet_dir, help="As the plugin's.")
@click.option(
    "--podresources-socket",
    type=click.Path(path_type=Path),
    default=_SETTINGS.podresources_socket,
    help="As the plugin's.",
)
@click.option(
    "--device-list-strategy",
    type=click.Choice([strategy.value for strategy in DeviceListStrategy]),
    default=_SETTINGS.device_list_strategy.value,
    help="As the plugin's.",
)
@click.option("--mps-pipe-directory", type=click.Path(path_type=Path), show_default="no MPS", help="As the plugin's.")
@click.option("--mps-control", default=_GUARDS.mps_control, help="As the plugin's.")
@click.option("--evict-overuse/--no-evict-overuse", default=_GUARDS.evict_overuse, help="As the plugin's.")
@click.option("--prefix", default=_SETTINGS.prefix, help="Domain in front of every resource and annotation.")
@click.option("--gpu-resource", default="", show_default="PREFIX/gpu", help="Name of the whole-GPU resource.")
@click.option(
    "--scheduler-namespace",
    "scheduler_namespaces",
    multiple=True,
    default=("gpupack-system", "kube-system"),
    help="Where to look for ConfigMaps with a KubeSchedulerConfiguration; may be given more than once.",
)
@click.option(
    "--scheduler-config",
    "scheduler_files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A file with one; may be given more than once.",
)
@click.option("--node/--no-node", "look_at_node", default=True, help="Look at this machine.")
@click.option("--cluster/--no-cluster", "look_at_cluster", default=True, help="Look at the API server.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(  # noqa: PLR0917 - click passes options by name
    kubeconfig: Path | None,
    host_root: Path,
    kubelet_dir: Path,
    podresources_socket: Path,
    device_list_strategy: str,
    mps_pipe_directory: Path | None,
    mps_control: str,
    evict_overuse: bool,  # noqa: FBT001 - click passes options by name
    prefix: str,
    gpu_resource: str,
    scheduler_namespaces: tuple[str, ...],
    scheduler_files: tuple[Path, ...],
    look_at_node: bool,  # noqa: FBT001 - click passes options by name
    look_at_cluster: bool,  # noqa: FBT001 - click passes options by name
    as_json: bool,  # noqa: FBT001 - click passes options by name
) -> None:
    """Look for what keeps GPUs from being shared, on this machine and in the cluster, and say what to do.

    Nothing is changed. The exit code is 1 when there is an error, 0 otherwise.
    """
    try:
        names = Names(prefix, gpu_resource)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    findings: list[Finding] = []
    if look_at_node:
        facts = gather_node(
            root=host_root,
            sockets=(kubelet_dir / KUBELET_SOCKET, podresources_socket),
            strategy=device_list_strategy,
            mps=None if mps_pipe_directory is None else MpsControl(mps_pipe_directory, mps_control),
            load_pynvml=load_pynvml,
        )
        findings += check_node(facts)
    if look_at_cluster:
        cluster = _cluster(kubeconfig, names, scheduler_namespaces, scheduler_files, evicts=evict_overuse)
        findings += check_cluster(cluster, names)
    click.echo(json.dumps([each.to_object() for each in findings], indent=2) if as_json else report(findings))
    if worst(findings) is Level.ERROR:
        raise click.exceptions.Exit(1)


def _cluster(
    kubeconfig: Path | None, names: Names, namespaces: Iterable[str], files: Iterable[Path], *, evicts: bool
) -> ClusterFacts:
    try:
        api = connect(kubeconfig)
    except SettingsError as error:
        return ClusterFacts(problem=str(error))
    try:
        return gather_cluster(api, names, namespaces=namespaces, scheduler_files=files, evicts=evicts)
    finally:
        api.close()
