"""Why something has no pods is told by its controller's conditions and Events."""

from extender.contract.names import Names
from extender.kube.objects import Condition, Metadata, PodObject
from extender.kubectl.cluster.surroundings import EventObject, OwnerObject, OwnerStatus
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.owners import Maker, explain_missing, failures_of, misplaced_on

QUOTA = (
    'pods "web-x" is forbidden: exceeded quota: gpus, requested: requests.gpupack.io/gpu-mem=8, '
    "used: requests.gpupack.io/gpu-mem=12, limited: requests.gpupack.io/gpu-mem=16"
)


def event(message: str, at: str, reason: str = "FailedCreate") -> EventObject:
    """A controller's complaint."""
    return EventObject(Metadata(), reason=reason, message=message, type="Warning", last_timestamp=at)


def maker(*conditions: Condition) -> Maker:
    """A ReplicaSet."""
    return Maker("ReplicaSet", OwnerObject(Metadata("web", "team"), OwnerStatus(list(conditions))))


def test_a_quota_is_named_with_its_numbers() -> None:
    """What was asked, what is used, what is allowed."""
    found = explain_missing("Deployment team/web", [QUOTA], [event(QUOTA, "2026-01-31T12:00:00Z")])
    assert found.cause is Cause.QUOTA
    assert found.why.endswith(
        "(quota gpus: requests.gpupack.io/gpu-mem=8 requested, requests.gpupack.io/gpu-mem=12 used, "
        "requests.gpupack.io/gpu-mem=16 allowed)"
    )
    assert found.helps[0] == "a larger quota: kubectl edit resourcequota gpus"
    assert len(found.events) == 1


def test_any_other_refusal_is_said_as_it_is() -> None:
    """An admission policy, a LimitRange."""
    found = explain_missing("Job team/train", ["denied: gpu-count must divide gpu-mem"], [])
    assert (found.cause, found.state) == (Cause.NOT_CREATED, "not-created")
    assert found.why == "its pods cannot be created: denied: gpu-count must divide gpu-mem"


def test_when_nobody_complains() -> None:
    """It may not want any."""
    assert explain_missing("Job team/train", [], []).cause is Cause.NO_PODS


def test_the_newest_failure_is_first_and_conditions_come_after_events() -> None:
    """Each once; what is no failure is none, and a condition of the past neither."""
    events = [
        event("old", "2026-01-31T12:00:00Z"),
        event("new", "2026-01-31T13:00:00Z"),
        event("fine", "2026-01-31T14:00:00Z", reason="SuccessfulCreate"),
    ]
    failed = Condition("ReplicaFailure", "True", "FailedCreate", "standing")
    past = Condition("ReplicaFailure", "False", "FailedCreate", "over")
    other = Condition("Available", "True", "MinimumReplicasAvailable", "fine")
    assert failures_of([maker(failed, past, other)], events) == ["new", "old", "standing"]


def test_an_annotation_that_stands_on_the_deployment_itself_is_told_once() -> None:
    """Its ReplicaSet has a copy; the pod does not have it, as it would from the template."""
    metadata = Metadata("web", "team", annotations={"gpupack.io/gpu-model": "A100*", "gpupack.io/gpu-count": "2"})
    makers = [Maker(kind, OwnerObject(metadata)) for kind in ("Deployment", "ReplicaSet")]
    pod = PodObject(Metadata("web-1", "team", annotations={"gpupack.io/gpu-count": "2"}))
    (sentence,) = misplaced_on(makers, Names(), pod)
    assert sentence.startswith("annotation gpupack.io/gpu-model of the Deployment itself has no effect; write it into")
    assert misplaced_on([], Names(), pod) == []
