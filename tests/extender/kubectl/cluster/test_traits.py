"""Planning is told what Pod and Node objects say, and what of it nobody looks at."""

from typing import Any

import pytest

from extender.capacity.cluster import Controller, PodTraits
from extender.capacity.eligibility import Constraints, NodeTraits, SelectorTerm, Taint, Toleration
from extender.contract.expressions import Expression
from extender.contract.names import Names
from extender.kube.objects import NodeObject, PodObject, read_node, read_pod
from extender.kubectl.cluster.traits import constraints_of, node_traits, owner_of, pod_traits, workload_of
from tests.extender.objects import raw

NAMES = Names()


def _pod(spec: dict[str, Any] | None = None, **metadata: Any) -> PodObject:
    return read_pod(raw({"metadata": {"name": "p", "namespace": "ml", **metadata}, "spec": spec or {}}))


def _owned(kind: str, name: str, **metadata: Any) -> PodObject:
    return _pod(ownerReferences=[{"kind": kind, "name": name, "controller": True}], **metadata)


def test_a_node_says_its_labels_taints_and_how_many_pods_it_takes() -> None:
    """A cordon is a field and a taint."""
    body = {
        "metadata": {"name": "n1", "labels": {"zone": "a"}},
        "spec": {"unschedulable": True, "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"pods": "110"}},
    }
    node: NodeObject = read_node(raw(body))
    assert node_traits(node) == NodeTraits("n1", {"zone": "a"}, (Taint("gpu", "yes", "NoSchedule"),), True, 110)
    assert node_traits(read_node(raw({"metadata": {"name": "n2"}}))) == NodeTraits("n2")


def test_a_pod_says_where_it_may_go() -> None:
    """Selector, required affinity and tolerations; what is preferred decides nothing."""
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    required = {"nodeSelectorTerms": [term]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    spec = {
        "nodeSelector": {"disk": "ssd", "arch": "x"},
        "affinity": {"nodeAffinity": affinity},
        "tolerations": [{"key": "gpu", "value": "yes"}, {"operator": "Exists"}],
    }
    assert constraints_of(_pod(spec), NAMES) == Constraints(
        selector=(("arch", "x"), ("disk", "ssd")),
        terms=(SelectorTerm((Expression("zone", "In", ("a",)),)),),
        tolerations=(Toleration("gpu", "Equal", "yes"), Toleration("", "Exists")),
    )


@pytest.mark.parametrize(
    ("spec", "unchecked"),
    [
        ({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}, "podAffinity"),
        (
            {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
            "podAntiAffinity",
        ),
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}, "topologySpreadConstraints"),
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}, ""),
        ({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{}]}}}, ""),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}, "persistent volumes"),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, ""),
        ({"resourceClaims": [{"name": "r"}]}, "resourceClaims"),
        ({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}, "hostPort"),
        (
            {"containers": [{"name": "c", "resources": {"limits": {"example.com/fpga": "1", "cpu": 1}}}]},
            "example.com/fpga",
        ),
        ({"containers": [{"name": "c", "resources": {"limits": {"gpupack.io/gpu-mem": "4"}}}]}, ""),
    ],
)
def test_what_nobody_looks_at_is_named(spec: dict[str, Any], unchecked: str) -> None:
    """By the field's name, or the resource's."""
    assert constraints_of(_pod(spec), NAMES).unchecked == ((unchecked,) if unchecked else ())


def test_the_owner_is_the_controller_and_a_replica_sets_deployment() -> None:
    """By the hash in the pod's labels; other owners do not make pods."""
    labels = {"pod-template-hash": "5d9"}
    assert owner_of(_owned("ReplicaSet", "llm-5d9", labels=labels)) == Controller("Deployment", "llm")
    assert owner_of(_owned("ReplicaSet", "own")) == Controller("ReplicaSet", "own")
    assert owner_of(_owned("Job", "train")) == Controller("Job", "train")
    assert owner_of(_pod(ownerReferences=[{"kind": "Node", "name": "n1"}])) is None


def test_the_workload_is_a_label_or_the_kind_of_owner() -> None:
    """Else just Pod."""
    pods = (_owned("Job", "t", labels={"app": "train"}), _owned("Job", "t"), _pod())
    assert [workload_of(pod) for pod in pods] == ["train", "Job", "Pod"]


@pytest.mark.parametrize(
    ("pod", "traits"),
    [
        (_owned("DaemonSet", "d"), PodTraits(owner=Controller("DaemonSet", "d"), with_node=True, workload="DaemonSet")),
        (_pod(annotations={"kubernetes.io/config.mirror": "x"}), PodTraits(with_node=True, workload="Pod")),
        (_owned("Node", "n1"), PodTraits(owner=Controller("Node", "n1"), with_node=True, workload="Node")),
        (_pod(deletionTimestamp="2026-01-01T00:00:00Z"), PodTraits(leaving=True, workload="Pod")),
        (
            _pod(annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}),
            PodTraits(pinned="cluster-autoscaler.kubernetes.io/safe-to-evict=false", workload="Pod"),
        ),
        (_pod({"volumes": [{"name": "v", "emptyDir": {}}]}), PodTraits(loses=("emptyDir volumes",), workload="Pod")),
        (
            _owned("PyTorchJob", "train"),
            PodTraits(
                owner=Controller("PyTorchJob", "train"),
                loses=("work since its last checkpoint",),
                workload="PyTorchJob",
            ),
        ),
    ],
    ids=["daemon", "static", "of the node", "leaving", "pinned", "local data", "training"],
)
def test_what_draining_must_know_of_a_pod(pod: PodObject, traits: PodTraits) -> None:
    """What goes with its node, what leaves anyway, what must stay, what would be lost."""
    assert pod_traits(pod, NAMES) == traits
