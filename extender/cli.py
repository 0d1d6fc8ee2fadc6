"""Runs the extender from the command line (`python -m extender`) with options and GPUPACK_... variables."""

import logging
import signal
import sys
from typing import Any

import click

from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, UNIT_CHOICES_MIB, ContractError, UnitMib
from extender.kube.client import connect
from extender.kube.errors import ApiError, ApiUnreachable, KubeConfigError
from extender.kubectl.commands.migrate import command as migrate
from extender.scheduling.pods.models import RequestError
from extender.scheduling.policies.table import DEFAULT_POLICY, POLICIES
from extender.server.logs import start_logging
from extender.server.service import NODES_PATH, PODS_PATH, Service
from extender.server.settings import DEFAULT_LISTEN, PLACEMENTS, Settings, SettingsError, Tls, parse_address

_LOG = logging.getLogger(__name__)
CHECK_TIMEOUT_S = 10.0
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


@click.group(invoke_without_command=True, context_settings={"auto_envvar_prefix": "GPUPACK", "show_default": True})
@click.option("--kubeconfig", default="", show_default="the pod's service account", help="Kubeconfig file.")
@click.option("--listen", default=DEFAULT_LISTEN, help="HOST:PORT for kube-scheduler's calls; port 0 picks a free one.")
@click.option("--observe-listen", help="HOST:PORT that serves only /healthz, /readyz and /metrics.")
@click.option("--policy", type=click.Choice(list(POLICIES)), default=DEFAULT_POLICY, help="Packing policy.")
@click.option(
    "--memory-unit-mib",
    type=click.Choice([str(unit) for unit in UNIT_CHOICES_MIB]),
    default=str(DEFAULT_UNIT_MIB),
    help="Size of one memory unit in MiB; the device plugins must use the same size.",
)
@click.option(
    "--placement",
    type=click.Choice(PLACEMENTS),
    default="exact",
    help="exact: filter answers with the best node, or for a pod that states a preference with the best --keep nodes. "
    "scored: with the best --keep nodes for every pod, for other plugins to score.",
)
@click.option(
    "--keep",
    type=int,
    default=16,
    help="Nodes in a filter answer with --placement scored, and for pods that state a preference.",
)
@click.option(
    "--hold-s",
    type=float,
    default=30.0,
    help="Seconds that filter keeps memory for a pod when there is no way to tell whether kube-scheduler still tries.",
)
@click.option("--stale-s", type=float, default=120.0, help="Seconds without the API server after which filter refuses.")
@click.option("--events-per-s", type=float, default=20.0, help="Events on pods per second, on average; 0 writes none.")
@click.option("--prefix", default="gpupack.io", help="Domain of resource and annotation names.")
@click.option("--gpu-resource", default="", show_default="PREFIX/gpu", help="Name of the whole-GPU resource.")
@click.option(
    "--allowed-host",
    multiple=True,
    help="Host name under which the page and /v1 are served, besides loopback names; may be given several times.",
)
@click.option(
    "--scheduler-name",
    multiple=True,
    show_default="learned from the calls",
    help="schedulerName of the pods that come to this extender; may be given several times.",
)
@click.option("--tls-certificate", help="PEM file; required to listen on anything but loopback.")
@click.option("--tls-key", help="PEM file.")
@click.option("--tls-client-authority", help="PEM file of the authority whose clients are accepted.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="Lowest level to log."
)
@click.option("--check", is_flag=True, help="Check settings and access to the API server, then exit.")
@click.pass_context
def main(context: click.Context, /, log_level: str, check: bool, **options: Any) -> None:  # noqa: FBT001 (click passes by name)
    """Serve kube-scheduler's filter, prioritize, preempt and bind calls.

    Every option can also be given as GPUPACK_<OPTION> in the environment.
    """
    if context.invoked_subcommand is not None:
        return
    start_logging(log_level)
    try:
        settings = _settings(options)
        api = connect(settings.kubeconfig or None)
    except (SettingsError, ContractError, RequestError, KubeConfigError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    _LOG.info("settings: %s", settings.described())
    if check:
        _check(api)
        return
    # Blocked before the first thread starts, and waited for: a Python handler could deadlock with what it interrupts.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        service = Service(settings, api)
        service.start()
    except (SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from error
    signal.sigwait(STOP_SIGNALS)
    service.stop()
    sys.exit(0)


main.add_command(migrate, "migrate")


def _settings(options: dict[str, Any]) -> Settings:
    tls = [options[name] for name in ("tls_certificate", "tls_key", "tls_client_authority")]
    if any(tls) and not all(tls):
        raise SettingsError("--tls-certificate, --tls-key and --tls-client-authority: expected all three or none")
    return Settings(
        kubeconfig=options["kubeconfig"],
        listen=parse_address(options["listen"], setting="listen"),
        observe=parse_address(options["observe_listen"], setting="observe-listen")
        if options["observe_listen"]
        else None,
        names=Names(options["prefix"], options["gpu_resource"]),
        policy=options["policy"],
        unit_mib=UnitMib(int(options["memory_unit_mib"])),
        placement=options["placement"],
        keep=options["keep"],
        hold_s=options["hold_s"],
        stale_s=options["stale_s"],
        tls=Tls(*tls) if all(tls) else None,
        allowed_hosts=options["allowed_host"],
        events_per_s=options["events_per_s"],
        scheduler_names=options["scheduler_name"],
    )


def _check(api: Any) -> None:
    for path in (NODES_PATH, PODS_PATH):
        try:
            api.list_page(path, 1, "", CHECK_TIMEOUT_S)
        except (ApiError, ApiUnreachable) as error:
            raise click.ClickException(f"{path}: {error}") from error
        click.echo(f"{path}: can be listed")
    click.echo("settings and access are good")
