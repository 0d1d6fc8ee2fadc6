"""The packing policy that planning goes by: from an option, or from how the extender's pod is started."""

import click

from extender.kubectl.view import ClusterView
from extender.scheduling.policies.table import DEFAULT_POLICY, POLICIES

_FLAG = "--policy="

policy_option = click.option(
    "--policy",
    type=click.Choice(list(POLICIES)),
    default=None,
    envvar="GPUPACK_POLICY",
    help="Packing policy; else the one that the extender's pod is started with, else the default.",
)


def policy_in_force(view: ClusterView, given: str | None) -> tuple[str, str]:
    """The policy's name, and how it is known."""
    if given:
        return given, "--policy"
    for pod in view.pods.values():
        if (pod.metadata.labels or {}).get("app.kubernetes.io/name") != "gpupack":
            continue
        for container in pod.spec.containers:
            words = [*(container.command or ()), *(container.args or ())]
            named = [word.removeprefix(_FLAG) for word in words if word.startswith(_FLAG)]
            if container.name == "extender" and named and named[-1] in POLICIES:
                return named[-1], f"arguments of pod {pod.path}"
    return DEFAULT_POLICY, "default"
