"""From a pod that must go to an Eviction that respects PodDisruptionBudgets, and what came of it."""

from enum import Enum

from .kubeapi import ApiError, Creating, pod_path
from .pods import BoundPod

_TIMEOUT_S = 10.0


class Eviction(Enum):
    """What the API server made of it."""

    DONE = "done"  # the pod is to be deleted, after its grace period
    GONE = "gone"  # it is not there any more, or another one under that name is
    LATER = "later"  # a PodDisruptionBudget does not allow it now (429)


def evict(api: Creating, pod: BoundPod) -> Eviction:
    """Ask for the eviction of this very pod.

    Raises:
        ApiError: no answer in time, or an error that trying again may mend.
    """
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    try:
        api.create(f"{pod_path(pod.namespace, pod.name)}/eviction", body, _TIMEOUT_S)
    except ApiError as error:
        if error.status == 429:
            return Eviction.LATER
        if error.status in (404, 409):
            return Eviction.GONE
        raise
    return Eviction.DONE
