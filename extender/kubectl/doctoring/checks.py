"""Finds what keeps GPUs from being shared in a cluster, and says what to do about each finding."""

from collections.abc import Iterator

from extender.contract.findings import Finding, Level
from extender.kubectl.cluster.components import extenders_of, is_ready, state_of
from extender.kubectl.doctoring.facts import DoctorFacts
from extender.kubectl.doctoring.node_checks import check_nodes
from extender.kubectl.doctoring.pod_checks import check_pods
from extender.kubectl.doctoring.scheduler_checks import check_schedulers


def check(facts: DoctorFacts) -> list[Finding]:
    """Every finding, in the order in which parts depend on each other."""
    return [
        *_rights(facts),
        *_extenders(facts),
        *check_schedulers(facts),
        *check_nodes(facts.view),
        *check_pods(facts.view),
        *(Finding("objects", Level.WARNING, text, "it is not counted; correct it") for text in facts.view.warnings),
    ]


def _rights(facts: DoctorFacts) -> Iterator[Finding]:
    if facts.rights_problem:
        yield Finding("rbac", Level.NOTE, f"rights of gpupack's service accounts are not known: {facts.rights_problem}")
    for account, denied in facts.denied.items():
        if denied:
            what = ", ".join(f"{verb} {resource}" for verb, resource in denied)
            advice = "apply the manifests of this version again"
            yield Finding("rbac", Level.ERROR, f"{account} is not allowed: {what}", advice)
        else:
            yield Finding("rbac", Level.OK, f"{account} has every right that it needs")


def _extenders(facts: DoctorFacts) -> Iterator[Finding]:
    view = facts.view
    if facts.asked_problem:
        yield Finding("extender", Level.ERROR, facts.asked_problem, "look at its log, and at the URL in --extender")
    elif facts.asked_extender is not None:
        unit = facts.asked_extender.get("unitMib")
        if unit != view.unit_mib:
            found = f"the extender counts in units of {unit} MiB, the nodes in {view.unit_mib} MiB"
            yield Finding("extender", Level.ERROR, found, "give both the same --memory-unit-mib")
        else:
            yield Finding("extender", Level.OK, "the extender of --extender is ready")
    pods = extenders_of(view.pods.values())
    if not pods and facts.asked_extender is None and not facts.asked_problem:
        advice = "kubectl apply -k manifests; name an extender that runs outside of the cluster with --extender URL"
        yield Finding("extender", Level.WARNING, "no pod with the scheduler extender was found", advice)
    for pod in pods:
        health = facts.extender_health.get(pod.path)
        if not is_ready(pod):
            advice = f"kubectl -n {pod.metadata.namespace} describe pod {pod.metadata.name}, and its log"
            # A standby that is not ready does no harm while another replica is.
            level = Level.WARNING if any(is_ready(other) for other in pods) else Level.ERROR
            yield Finding("extender", level, f"pod {pod.path} is {state_of(pod)}", advice)
        elif health:
            advice = "look at its log; with a NetworkPolicy of your own, let the API server reach the port metrics"
            yield Finding("extender", Level.WARNING, f"pod {pod.path}: {health}", advice)
        else:
            asked = "" if health is not None else " (by its kubelet; it names no metrics port to ask)"
            yield Finding("extender", Level.OK, f"pod {pod.path} is ready{asked}")
