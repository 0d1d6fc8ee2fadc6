"""Finds gpupack's own pods by the labels that the manifests give them."""

from collections.abc import Iterable

from extender.kube.objects import ContainerArguments, PodObject

PLUGIN = "device-plugin"
EXTENDERS = ("scheduler", "extender")
METRICS_PORT = "metrics"


def component_of(pod: PodObject) -> str:
    """`device-plugin`, `scheduler` (with the extender in the same pod) or `extender`; empty for all other pods."""
    labels = pod.metadata.labels or {}
    ours = labels.get("app.kubernetes.io/name") == "gpupack"
    return labels.get("app.kubernetes.io/component", "") if ours else ""


def plugins_of(pods: Iterable[PodObject]) -> list[PodObject]:
    """The device plugins' pods."""
    return [pod for pod in pods if component_of(pod) == PLUGIN]


def extenders_of(pods: Iterable[PodObject]) -> list[PodObject]:
    """The pods with an extender."""
    return [pod for pod in pods if component_of(pod) in EXTENDERS]


def metrics_port(pod: PodObject) -> int | None:
    """The port where metrics and health are served; None where the pod names none."""
    ports = [port for container in pod.spec.containers for port in container.ports or () if port.name == METRICS_PORT]
    return ports[0].container_port if ports else None


def is_ready(pod: PodObject) -> bool:
    """Whether its kubelet calls it ready."""
    condition = pod.condition("Ready")
    return pod.status.phase == "Running" and (condition is None or condition.status == "True")


def state_of(pod: PodObject) -> str:
    """Its state, in a word or two."""
    if pod.status.phase == "Running":
        return "running" if is_ready(pod) else "running but not ready"
    return pod.status.reason or pod.status.phase or "in an unknown state"


def options_given(container: ContainerArguments, flag: str, variable: str) -> list[str]:
    """The values of an option that a program is started with: of each flag in order, otherwise of the variable."""
    words = [*(container.command or ()), *(container.args or ())]
    given: list[str] = []
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag:
            given += [value] if equals else words[at + 1 : at + 2]
    return given or [
        word for each in container.env or () if each.name == variable for word in (each.value or "").split()
    ]
