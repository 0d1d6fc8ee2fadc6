"""What admission would have refused is found in pods that exist: names that nobody reads, and other schedulers."""

from typing import Any

import pytest

from extender.kubectl.cluster.past_admission import bypassing, misspelt_names, schedulers
from tests.extender.kubectl.views import component, on, view
from tests.extender.objects import Json, container, node, pod, uuid


def extender(*args: str, **fields: Any) -> Json:
    """A pod with an extender that is started with these arguments."""
    return component("scheduler", "scheduler", containers=[{"name": "extender", "args": [*args], **fields}])


def placed(scheduler: str = "gpupack-scheduler") -> Json:
    """A pod that gpupack placed."""
    body = on("placed", 4, uuid("n1", 0), "n1")
    body["spec"]["schedulerName"] = scheduler
    return body


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([extender("--scheduler-name=a", "--scheduler-name", "b")], {"a", "b"}),
        ([extender(env=[{"name": "GPUPACK_SCHEDULER_NAME", "value": "a b"}])], {"a", "b"}),
        ([extender("--scheduler-name=a", env=[{"name": "GPUPACK_SCHEDULER_NAME", "value": "b"}])], {"a"}),
        ([extender(), placed("second")], {"second"}),
        ([extender("--scheduler-name=a"), placed("second")], {"a"}),
        ([pod("by-hand", 4, node="n1", schedulerName="default-scheduler")], set()),
    ],
)
def test_the_schedulers_that_ask_gpupack_are_known(pods: list[Json], expected: set[str]) -> None:
    """As the extenders are told, otherwise by the pods that it placed; a pod without an allocation says nothing."""
    assert expected == schedulers(view([node("n1", 16)], pods))


def test_pods_of_other_schedulers_are_found_wherever_they_are() -> None:
    """Waiting or bound, with an invalid request or not; those that ended, ask for nothing or were planned are not."""
    past: dict[str, Any] = {"schedulerName": "default-scheduler"}
    pods = [
        extender("--scheduler-name=gpupack-scheduler"),
        placed(),
        pod("bound", 4, node="n1", **past),
        pod("waits", 4, **past),
        pod("odd", 4, annotations={"gpu-count": "two"}, **past),
        pod("nobody", 4),
        pod("ended", 4, node="n1", status={"phase": "Succeeded"}, **past),
        pod("plain", **past),
        pod("ours", 4, schedulerName="gpupack-scheduler"),
        {**placed("renamed"), "metadata": {**placed()["metadata"], "name": "renamed", "uid": "renamed"}},
    ]
    assert [record.name for record in bypassing(view([node("n1", 16)], pods))] == ["bound", "nobody", "odd", "waits"]


def test_nothing_is_said_while_it_is_not_known_who_asks_gpupack() -> None:
    """Any scheduler might."""
    assert bypassing(view([node("n1", 16)], [pod("bound", 4, node="n1", schedulerName="default-scheduler")])) == []


def test_annotations_labels_and_resources_of_all_containers_are_looked_at() -> None:
    """Those of init containers, too."""
    first = {"name": "first", "resources": {"limits": {"gpupack.io/gpumem": "8"}}}
    last = {"name": "last", "resources": {"requests": {"gpupack.io/gpus": "1"}}}
    body = pod("p", containers=[container("main", 4), last], init=[first], annotations={"gpu-modle": "A100"})
    body["metadata"]["labels"] = {"gpupack.io/policy": "spread", "app": "p"}
    seen = view([], [body])
    assert [each.partition(" is not")[0] for each in misspelt_names(seen, seen.pod_records[0])] == [
        "annotation gpupack.io/gpu-modle",
        "label gpupack.io/policy",
        "container first: resource gpupack.io/gpumem",
        "container last: resource gpupack.io/gpus",
    ]
