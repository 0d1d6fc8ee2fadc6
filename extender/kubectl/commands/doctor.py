"""`kubectl gpupack doctor`: checks the installation in a cluster, and says what to do about each finding."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from extender.contract.findings import Finding, Level, worst
from extender.kubectl.doctoring.checks import check
from extender.kubectl.doctoring.facts import gather
from extender.kubectl.options import NO, Options, common_options
from extender.kubectl.output.answer import Answer, Line, Tone
from extender.kubectl.output.texts import counted
from extender.kubectl.running import run

_TONES = {Level.OK: Tone.GOOD, Level.NOTE: Tone.PLAIN, Level.WARNING: Tone.CAREFUL, Level.ERROR: Tone.BAD}


@click.command()
@common_options
@click.option(
    "--scheduler-namespace",
    "namespaces",
    multiple=True,
    default=("gpupack-system", "kube-system"),
    show_default=True,
    help="Where to look for ConfigMaps with a KubeSchedulerConfiguration. Repeatable.",
)
@click.option(
    "--scheduler-config",
    "files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="File with a KubeSchedulerConfiguration, such as the control plane's. Repeatable.",
)
def command(options: Options, *, namespaces: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Find what keeps GPUs from being shared.

    Checks this cluster and says what to do; nothing is changed. The exit code is 1 if there is an error. A node itself
    (driver, toolkit, cgroups) is checked by: kubectl -n gpupack-system exec POD -- python -m device_plugin doctor
    """
    run(options, lambda session: findings_answer(check(gather(session, namespaces, files))))


def findings_answer(findings: Sequence[Finding]) -> Answer:
    """The findings with what to do below each, and how many there are."""
    width = max((len(finding.check) for finding in findings), default=0)
    body: list[Line] = []
    for finding in findings:
        mark = finding.level.value.upper() if finding.level in (Level.WARNING, Level.ERROR) else finding.level.value
        body.append(Line(f"{mark:<7}  {finding.check:<{width}}  {finding.found}", _TONES[finding.level]))
        if finding.advice:
            body.append(Line(f"{'':{width + 11}}-> {finding.advice}"))
    counts = Counter(finding.level for finding in findings)
    errors, warnings = counts[Level.ERROR], counts[Level.WARNING]
    body += [Line(), Line(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")]
    failed = NO if worst(findings) is Level.ERROR else 0
    return Answer([finding.to_object() for finding in findings], tuple(body), failed)
