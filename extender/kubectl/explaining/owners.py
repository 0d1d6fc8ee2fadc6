"""Explains why a workload has no pods: quota, admission, policy."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extender.contract.misspellings import misplaced_on_workload
from extender.contract.names import Names
from extender.kube.objects import PodObject
from extender.kubectl.cluster.surroundings import EventObject, OwnerObject
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.explanation import Explanation

KINDS = {
    "deployment": ("Deployment", "apis/apps/v1", "deployments"),
    "replicaset": ("ReplicaSet", "apis/apps/v1", "replicasets"),
    "statefulset": ("StatefulSet", "apis/apps/v1", "statefulsets"),
    "daemonset": ("DaemonSet", "apis/apps/v1", "daemonsets"),
    "job": ("Job", "apis/batch/v1", "jobs"),
    "cronjob": ("CronJob", "apis/batch/v1", "cronjobs"),
}
"""Kind as people type it to its name, API and plural."""

SHORT = {"deploy": "deployment", "rs": "replicaset", "sts": "statefulset", "ds": "daemonset", "cj": "cronjob"}
_QUOTA = re.compile(r"exceeded quota: (?P<quota>\S+?), requested: (?P<asked>.*?), used: (?P<used>.*?), limited: (.*)$")
_FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Maker:
    """An object that creates pods, or creates such objects."""

    kind: str
    object: OwnerObject

    @property
    def path(self) -> str:
        """For people."""
        metadata = self.object.metadata
        return f"{self.kind} {metadata.namespace}/{metadata.name}"


def failures_of(makers: Iterable[Maker], events: Iterable[EventObject]) -> list[str]:
    """What conditions and Events of the makers say of pods that could not be created, newest first, each once."""
    newest = sorted((event for event in events if is_failure(event)), key=lambda event: event.at, reverse=True)
    messages = [event.message for event in newest]
    for maker in makers:
        messages += [
            condition.message
            for condition in maker.object.status.conditions or ()
            if condition.reason.startswith(_FAILED) and condition.status == "True" and condition.message
        ]
    return list(dict.fromkeys(messages))


def misplaced_on(makers: Sequence[Maker], names: Names, pod: PodObject) -> list[str]:
    """What the first of the makers has annotations for that its pod does not have; the others have copies of them."""
    return [
        sentence
        for maker in makers[:1]
        for sentence in misplaced_on_workload(
            names, maker.kind, maker.object.metadata.annotations or {}, pod.metadata.annotations or {}
        )
    ]


def is_failure(event: EventObject) -> bool:
    """Whether it reports a pod that could not be created."""
    return event.type == "Warning" and event.reason.startswith(_FAILED)


def explain_missing(subject: str, failures: Sequence[str], events: Sequence[EventObject]) -> Explanation:
    """Why it has no pods."""
    kept = tuple(sorted((event for event in events if is_failure(event)), key=lambda event: event.at))[-5:]
    quota = next((match for text in failures if (match := _QUOTA.search(text)) is not None), None)
    if quota is not None:
        name, asked, used, limited = quota.group("quota"), quota.group("asked"), quota.group("used"), quota.group(4)
        helps = (
            f"a larger quota: kubectl edit resourcequota {name}",
            "fewer or smaller pods in the namespace; the quota counts pending ones as well",
        )
        why = f"{Cause.QUOTA.text} (quota {name}: {asked} requested, {used} used, {limited} allowed)"
        return Explanation(
            subject, "not-created", why, Cause.QUOTA, helps=helps, facts=tuple(failures[:1]), events=kept
        )
    if failures:
        correct = "correct what the message names; its controller retries by itself"
        why = f"{Cause.NOT_CREATED.text}: {failures[0]}"
        return Explanation(subject, "not-created", why, Cause.NOT_CREATED, helps=(correct,), events=kept)
    look = "check whether it wants any (replicas, suspend, completions) and whether its controller runs"
    return Explanation(subject, "not-created", Cause.NO_PODS.text, Cause.NO_PODS, helps=(look,))
