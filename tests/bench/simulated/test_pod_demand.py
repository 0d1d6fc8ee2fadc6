"""A pod takes from its node what kube-scheduler and the kubelet say it takes."""

from typing import Any

from bench.simulated.pod_demand import pod_demand


def _container(amount: int, *, sidecar: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = {"resources": {"requests": {"gpupack.io/gpu-mem": str(amount), "cpu": "500m"}}}
    if sidecar:
        body["restartPolicy"] = "Always"
    return body


def _memory(init: list[dict[str, Any]], apps: list[dict[str, Any]]) -> int:
    return pod_demand({"initContainers": init, "containers": apps})["gpupack.io/gpu-mem"]


def test_app_containers_add_up() -> None:
    """They run at the same time."""
    assert pod_demand({"containers": [_container(2), _container(3)]}) == {"gpupack.io/gpu-mem": 5, "cpu": 1000}


def test_the_greatest_init_container_counts_if_it_is_greater() -> None:
    """They run one after the other, before the apps."""
    assert _memory([_container(4), _container(7)], [_container(2), _container(3)]) == 7
    assert _memory([_container(4)], [_container(2), _container(3)]) == 5


def test_sidecars_count_all_along() -> None:
    """Beside the apps, and beside the init containers that come after them."""
    assert _memory([_container(2, sidecar=True)], [_container(3)]) == 5
    assert _memory([_container(2, sidecar=True), _container(7)], [_container(3)]) == 9
    assert _memory([_container(7), _container(2, sidecar=True)], [_container(3)]) == 7
