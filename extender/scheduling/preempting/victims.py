"""Defines who needs room and who would leave for it."""

from dataclasses import dataclass

from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Victims:
    """Pods to evict from one node, by UID, and how many of them a PodDisruptionBudget protects."""

    uids: tuple[str, ...]
    pdb_violations: int = 0


@dataclass(frozen=True, slots=True)
class Preemptor:
    """The pod that needs room."""

    request: PodRequest
    priority: int
    policy: Policy
