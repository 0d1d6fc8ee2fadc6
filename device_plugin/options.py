"""From command line options to a Safeguards value: the options that say how shares are enforced and GPUs trusted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .enforcement import LADDER, Rung
from .safeguards import SafeguardError, Safeguards, parse_xids
from .settings import SettingsError

_DEFAULTS = Safeguards()
_OPTIONS = (
    click.option(
        "--enforcement",
        type=click.Choice([rung.value for rung in LADDER]),
        default=_DEFAULTS.enforcement.value,
        help="The best way to hold containers to their share that may be used; what is proven on each GPU decides.",
    ),
    click.option(
        "--cgroup-root",
        type=click.Path(path_type=Path, file_okay=False),
        default=_DEFAULTS.cgroup_root,
        help="Where the node's cgroup file system is mounted.",
    ),
    click.option(
        "--mps-pipe-directory",
        type=click.Path(path_type=Path, file_okay=False),
        show_default="no MPS",
        help="The MPS control daemon's pipe directory, the same path on the node and here.",
    ),
    click.option(
        "--mps-shm-directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=_DEFAULTS.mps_shm_directory,
        help="Folder of the node that the MPS control daemon has as /dev/shm.",
    ),
    click.option("--mps-control", default=_DEFAULTS.mps_control, help="The program that talks to the MPS daemon."),
    click.option(
        "--probe-interval-s",
        type=float,
        default=_DEFAULTS.probe_interval_s,
        help="Seconds between two probes of what can be enforced, and is.",
    ),
    click.option(
        "--overuse-grace-s",
        type=float,
        default=_DEFAULTS.overuse_grace_s,
        help="Seconds that a container may use more than its share before that is reported.",
    ),
    click.option(
        "--overuse-tolerance-mib",
        type=int,
        default=_DEFAULTS.overuse_tolerance_mib,
        help="MiB above its share that are not counted.",
    ),
    click.option(
        "--evict-overuse/--no-evict-overuse",
        default=_DEFAULTS.evict_overuse,
        help="Evict the pods that are reported, as their PodDisruptionBudgets allow.",
    ),
    click.option(
        "--probation-s",
        type=float,
        default=_DEFAULTS.probation_s,
        help="Seconds that a GPU which was unhealthy must be well before it is used again.",
    ),
    click.option(
        "--ignored-xids",
        default="",
        show_default="those of applications only",
        metavar="N,N,...",
        help="More XIDs that do not make a GPU unhealthy.",
    ),
)


def with_safeguards(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets their values as keyword arguments for `safeguards_from`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def safeguards_from(options: dict[str, Any]) -> Safeguards:
    """The value of the options.

    Raises:
        SettingsError: one that cannot work.
    """
    try:
        given = {**options, "enforcement": Rung(options["enforcement"])}
        return Safeguards(**{**given, "ignored_xids": parse_xids(options["ignored_xids"])})
    except SafeguardError as error:
        raise SettingsError(str(error)) from error
