"""Calls to the API server as the extender makes them."""

from extender.kube.client import KubeApi

PODS = "/api/v1/pods"


def bind(api: KubeApi, timeout_s: float = 5.0) -> None:
    """One bind as the extender makes it."""
    api.bind_pod("team", "train-0", "uid-1", "node-a", {"gpupack.io/allocation": "{}"}, timeout_s, resource_version=7)
