"""What pods ask NVIDIA's device plugin for, in gpupack's words."""

import json
from typing import Any

import pytest

from extender.contract.units import UnitMib
from extender.kube.objects import read_pod
from extender.kubectl.nvidia.gpus import OfferedGpus, offered_gpus
from extender.kubectl.nvidia.pods import asked_of_nvidia, combines_mig
from extender.scheduling.pods.request import PodRequest
from tests.extender.scheduling.builders import app, shares, wholes

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


def _node(name: str, product: str, memory: str, replicas: str = "1") -> OfferedGpus:
    labels = {f"{GPU}.product": product, f"{GPU}.memory": memory, f"{GPU}.replicas": replicas}
    return offered_gpus(name, labels, {GPU: "8"})


NODES = {
    "cards": _node("cards", "Tesla-T4", "15360"),
    "slices": _node("slices", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "9728"),
    "shared": _node("shared", "Tesla-T4-SHARED", "15360", "4"),
}


def _asked(
    node: str, *limits: dict[str, Any], init: dict[str, Any] | None = None, nodes: dict[str, OfferedGpus] | None = None
) -> PodRequest | None:
    containers = [{"name": f"app-{at}", "resources": {"limits": each}} for at, each in enumerate(limits)]
    body: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": containers, "nodeName": node}}
    if init is not None:
        body["spec"]["initContainers"] = [{"name": "init", "resources": {"limits": init}}]
    pod = read_pod(json.dumps(body).encode())
    return asked_of_nvidia(pod, 0, 0, NODES if nodes is None else nodes, UnitMib(1024))


@pytest.mark.parametrize(
    ("node", "limits", "expected"),
    [
        ("cards", {GPU: "1"}, wholes(1)),
        ("cards", {GPU: 2}, wholes(2)),
        ("slices", {GPU: "1"}, wholes(1, models="*MIG-1g.10gb")),
        ("slices", {MIG: "1"}, wholes(1, models="*MIG-1g.10gb")),
        ("cards", {MIG: "1"}, wholes(1, models="*MIG-1g.10gb")),
        ("cards", {f"{MIG}.me": "1"}, wholes(1, models="*MIG-1g.10gb+me")),
        ("", {MIG: "1"}, wholes(1, models="*MIG-1g.10gb")),
        ("", {GPU: "1"}, wholes(1, models="*,*MIG*")),
        ("gone", {GPU: "1"}, wholes(1, models="*,*MIG*")),
        ("shared", {GPU: "1"}, shares(3)),
        ("shared", {GPU: "2"}, shares(6)),
        ("cards", {"cpu": "1"}, None),
        ("cards", {GPU: "0", MIG: "0"}, None),
        ("cards", {GPU: "many"}, None),
    ],
)
def test_what_a_pod_asks_for(node: str, limits: dict[str, Any], expected: PodRequest | None) -> None:
    """By its node where it has one: under one strategy for MIG a `nvidia.com/gpu` is a MIG device."""
    assert _asked(node, limits) == expected


def test_a_cluster_without_mig_has_gpus_alone() -> None:
    """A pod that waits gets no pattern."""
    assert _asked("", {GPU: "1"}, nodes={"cards": NODES["cards"]}) == wholes(1)


def test_containers_ask_one_by_one() -> None:
    """Init containers before them, whose devices they take over."""
    assert _asked("cards", {GPU: "1"}, {GPU: "2"}) == wholes(1, 2)
    request = _asked("cards", {GPU: "1"}, init={GPU: "2"})
    assert request is not None
    assert [demand.gpus for demand in request.demands] == [2]
    assert [one.name for one in request.containers] == ["init", app(name="app-0").name]


def test_several_mig_devices_in_one_container_are_none_of_gpupacks() -> None:
    """One each in two containers is fine."""
    for limits, expected in (([{GPU: "2"}], True), ([{GPU: "1"}, {GPU: "1"}], False)):
        request = _asked("slices", *limits)
        assert request is not None
        assert combines_mig(request) is expected
    plain = _asked("cards", {GPU: "2"})
    assert plain is not None
    assert not combines_mig(plain)
