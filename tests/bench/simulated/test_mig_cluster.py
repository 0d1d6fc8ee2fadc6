"""On a simulated cluster a node packs shares on a GPU and MIG devices, and gives whole MIG devices only by name."""

from collections.abc import Iterator

import pytest

from bench.simulated.cluster import ClusterSettings, SimulatedCluster
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from extender.contract.allocation import parse_allocation
from extender.contract.names import Names

NAMES = Names()
A100 = "NVIDIA A100-SXM4-80GB"
NODE = MachineSpec("n", (GpuSpec(A100, 81920), GpuSpec(A100, 81920, mig=("3g.40gb", "1g.10gb", "1g.10gb"))))
ONE_SLICE = {NAMES.model_annotation: "*MIG-1g.10gb"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[SimulatedCluster]:
    """One node: a GPU, and one that is split into three MIG devices."""
    with SimulatedCluster(ClusterSettings((NODE,))) as running:
        yield running


def run(cluster: SimulatedCluster, name: str, limits: dict[str, int], annotations: dict[str, str]) -> dict[str, int]:
    """Where a pod of that name was reported to run: units by UUID; it ends with the test."""
    cluster.client.create_pod(gpu_pod(name, limits, annotations=annotations))
    pod = cluster.client.wait_for_pod(
        name,
        lambda pod: NAMES.allocated_annotation in (pod["metadata"].get("annotations") or {}),
        "to be reported by the device plugin",
    )
    (main,) = parse_allocation(pod["metadata"]["annotations"][NAMES.allocated_annotation]).containers.values()
    environment = cluster.nodes["n"].kubelet.environment(pod)
    assert environment["NVIDIA_VISIBLE_DEVICES"].split(",") == [str(uuid) for uuid in main]
    return {str(uuid): int(units) for uuid, units in main.items()}


@pytest.fixture(autouse=True)
def _empty_afterwards(cluster: SimulatedCluster) -> Iterator[None]:
    """Each test begins with an empty node."""
    yield
    for pod in cluster.client.pods("default"):
        cluster.client.delete_pod(pod["metadata"]["name"])
        cluster.client.wait_gone(pod["metadata"]["name"])


def test_shares_are_packed_on_mig_devices(cluster: SimulatedCluster) -> None:
    """Two of 4 GiB that accept only the small ones share one of them; each is told its MIG device."""
    memory = {NAMES.memory_resource: 4}
    found = [run(cluster, name, memory, ONE_SLICE) for name in ("a", "b", "c")]
    assert found[0] == found[1]
    assert {uuid for each in found for uuid in each} == {"MIG-n-1-1", "MIG-n-1-2"}


def test_a_whole_gpu_is_never_a_mig_device(cluster: SimulatedCluster) -> None:
    """Unless the pod names it."""
    whole = {NAMES.gpu_resource: 1}
    assert list(run(cluster, "whole", whole, {})) == ["GPU-n-0"]
    assert list(run(cluster, "slice", whole, {NAMES.model_annotation: "*MIG-3g.40gb"})) == ["MIG-n-1-0"]


def test_a_share_may_be_of_either(cluster: SimulatedCluster) -> None:
    """By size: 38 GiB fit only the GPU and the large MIG device; a pod that wants no MIG device gets the GPU."""
    memory = {NAMES.memory_resource: 38}
    plain = run(cluster, "plain", memory, {NAMES.model_annotation: "!*MIG*"})
    named = run(cluster, "named", memory, {NAMES.model_annotation: "*MIG*"})
    assert (plain, named) == ({"GPU-n-0": 38}, {"MIG-n-1-0": 38})
