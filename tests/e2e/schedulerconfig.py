"""Builds the KubeSchedulerConfiguration of a test from the extenders that it shall call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_RESOURCES = ("gpupack.io/gpu-mem", "gpupack.io/gpu", "gpupack.io/gpu-core")


@dataclass(frozen=True, slots=True)
class ExtenderStanza:
    """One entry of `extenders`: where it listens and what kube-scheduler asks it.

    A verb that is None is not configured, so kube-scheduler does that step by itself.
    """

    url: str
    filter_verb: str | None = "filter"
    prioritize_verb: str | None = "prioritize"
    preempt_verb: str | None = "preempt"
    bind_verb: str | None = "bind"
    weight: int = 1
    node_cache_capable: bool = True
    ignorable: bool = False
    http_timeout_s: float = 5
    managed_resources: tuple[str, ...] = DEFAULT_RESOURCES
    ignored_by_scheduler: bool = False

    def document(self) -> dict[str, Any]:
        """The entry under the names of kubescheduler.config.k8s.io/v1."""
        verbs = {
            "filterVerb": self.filter_verb,
            "prioritizeVerb": self.prioritize_verb,
            "preemptVerb": self.preempt_verb,
            "bindVerb": self.bind_verb,
        }
        return {
            "urlPrefix": self.url,
            **{name: verb for name, verb in verbs.items() if verb is not None},
            "weight": self.weight,
            "enableHTTPS": False,
            "httpTimeout": f"{self.http_timeout_s:g}s",
            "nodeCacheCapable": self.node_cache_capable,
            "ignorable": self.ignorable,
            "managedResources": [
                {"name": name, "ignoredByScheduler": self.ignored_by_scheduler} for name in self.managed_resources
            ],
        }


def scheduler_configuration(
    extenders: Sequence[ExtenderStanza] = (),
    *,
    scheduler_name: str = "default-scheduler",
    percentage_of_nodes_to_score: int = 100,
) -> dict[str, Any]:
    """A whole configuration for `ControlPlane.start_scheduler`."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": percentage_of_nodes_to_score,
        "profiles": [{"schedulerName": scheduler_name}],
        "extenders": [extender.document() for extender in extenders],
    }


def on_this_machine(configuration: Mapping[str, Any], kubeconfig: Path) -> dict[str, Any]:
    """The same configuration as `kubeconfig`'s user, alone, and without the client's own rate limit in the way."""
    connection = {"qps": 5000, "burst": 10000, **configuration.get("clientConnection", {})}
    return {
        **configuration,
        "clientConnection": {**connection, "kubeconfig": str(kubeconfig)},
        "leaderElection": {"leaderElect": False},
    }
