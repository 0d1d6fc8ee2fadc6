"""Checks the configuration of kube-scheduler: whether it calls the extender, and as it should."""

from collections.abc import Iterator, Mapping
from typing import Any

from extender.contract.findings import Finding, Level
from extender.contract.names import Names
from extender.kubectl.doctoring.facts import DoctorFacts

_Problem = tuple[Level, str, str]
"""How bad, what, and what to do."""


def check_schedulers(facts: DoctorFacts) -> Iterator[Finding]:
    """A finding for each fault of each configuration with the extender; one when there is none."""
    names = facts.view.names
    if facts.schedulers_problem:
        yield Finding("scheduler", Level.NOTE, f"no configuration can be read: {facts.schedulers_problem}")
        return
    ours = {
        where: [entry for entry in config.get("extenders") or [] if _manages(entry, names.memory_resource)]
        for where, config in facts.schedulers.items()
    }
    if not any(ours.values()):
        advice = (
            "kubectl apply -k manifests; a configuration file of the control plane is not visible from here: "
            "pass it with --scheduler-config"
        )
        found = f"no KubeSchedulerConfiguration with an extender for {names.memory_resource} was found"
        yield Finding("scheduler", Level.WARNING, found, advice)
    for where, entries in ours.items():
        for entry in entries:
            problems = [*_problems(facts.schedulers[where], entry, names)]
            yield from (Finding("scheduler", level, f"{where}: {what}", advice) for level, what, advice in problems)
            if not problems:
                yield Finding("scheduler", Level.OK, f"{where}: the extender is configured correctly")


def _manages(entry: Mapping[str, Any], resource: str) -> bool:
    return any(each.get("name") == resource for each in entry.get("managedResources") or [])


def _problems(config: Mapping[str, Any], entry: Mapping[str, Any], names: Names) -> Iterator[_Problem]:
    if not _manages(entry, names.gpu_resource):
        what = f"managedResources lacks {names.gpu_resource}"
        yield Level.ERROR, what, "add it: pods for whole GPUs would bypass the extender"
    if not _manages(entry, names.core_resource):
        what = f"managedResources lacks {names.core_resource}"
        yield Level.WARNING, what, "add it: the extender would not be asked about pods that request it"
    if any(each.get("ignoredByScheduler") for each in entry["managedResources"]):
        yield Level.ERROR, "ignoredByScheduler is true", "set it to false: preemption and node totals need it"
    if entry.get("ignorable"):
        yield Level.ERROR, "ignorable is true", "set it to false: pods would be placed without the extender"
    if not entry.get("nodeCacheCapable"):
        yield Level.WARNING, "nodeCacheCapable is not true", "set it to true: otherwise whole Node objects are sent"
    for verb in ("filterVerb", "bindVerb"):
        if not entry.get(verb):
            yield Level.ERROR, f"{verb} is not set", f"set it to {verb.removesuffix('Verb')}"
    if config.get("percentageOfNodesToScore") != 100:
        advice = "set it to 100: otherwise the extender sees only some nodes and may miss the best GPU"
        yield Level.WARNING, "percentageOfNodesToScore is not 100", advice
