"""On a node with a GPU and MIG devices each pod gets what it asks for, from filter to the container."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bench.simulated.cluster import ClusterSettings, SimulatedCluster
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.allocation import parse_allocation
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from tests.checker import Checker

MANIFESTS = Path(__file__).parents[3] / "manifests"
NAMES = Names()
A100 = "NVIDIA A100-SXM4-80GB"
NODE = MachineSpec("mixed", (GpuSpec(A100, 81920), GpuSpec(A100, 81920, mig=("3g.40gb", "1g.10gb", "1g.10gb"))))


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    """A GPU of 80 units beside MIG devices of 39, 9 and 9."""
    with SimulatedCluster(ClusterSettings((NODE,))) as running:
        yield running


def create(cluster: SimulatedCluster, name: str, units: int, model: str) -> None:
    """A pod that asks for so many units of GPUs of a model."""
    annotations = {NAMES.model_annotation: model}
    cluster.client.create_pod(gpu_pod(name, {NAMES.memory_resource: units}, annotations=annotations))


def given(cluster: SimulatedCluster, name: str) -> dict[str, int]:
    """Units on each GPU, once the device plugin has reported them: as planned, and as the container is told."""
    pod = cluster.client.wait_for_pod(
        name,
        lambda body: NAMES.allocated_annotation in (body["metadata"].get("annotations") or {}),
        "to be reported by the device plugin",
    )
    annotations = pod["metadata"]["annotations"]
    held = parse_allocation(annotations[NAMES.allocated_annotation]).containers["main"]
    if NAMES.allocation_annotation in annotations:
        assert parse_allocation(annotations[NAMES.allocation_annotation]).containers["main"] == held
    assert cluster.nodes["mixed"].kubelet.environment(pod)["NVIDIA_VISIBLE_DEVICES"] == ",".join(held)
    return {str(uuid): int(units) for uuid, units in held.items()}


def refusal(cluster: SimulatedCluster, name: str) -> str:
    """Why the pod was not scheduled, in kube-scheduler's words."""

    def waits() -> str:
        conditions = (cluster.client.pod(name) or {}).get("status", {}).get("conditions", ())
        return next((each.get("message", "") for each in conditions if each["type"] == "PodScheduled"), "")

    wait_until(lambda: bool(waits()), f"{name} to be refused")
    return waits()


def test_shares_are_packed_on_mig_devices(cluster: SimulatedCluster) -> None:
    """The tightest that has room; who refuses them gets the GPU."""
    with Checker(cluster.client) as checker:
        for name, units in (("large", 36), ("small", 5), ("other", 4)):
            create(cluster, name, units, "*MIG*")
        create(cluster, "apart", 4, "!*MIG*")
        held = {name: given(cluster, name) for name in ("large", "small", "other", "apart")}
        assert held["large"] == {"MIG-mixed-1-0": 36}
        assert held["apart"] == {"GPU-mixed-0": 4}
        assert all(uuid.startswith("MIG-mixed-1-") for name in ("small", "other") for uuid in held[name])
        assert checker.settle() == ()


def test_the_example_for_mig_devices_gets_what_it_says(cluster: SimulatedCluster) -> None:
    """Four replicas share two small devices, the job has the large one whole."""
    pods: list[str] = []
    for body in yaml.safe_load_all((MANIFESTS / "examples" / "mig.yaml").read_text(encoding="utf-8")):
        template = body["spec"]["template"]
        limits = template["spec"]["containers"][0]["resources"]["limits"]
        for number in range(body["spec"].get("replicas", 1)):
            pods.append(f"{body['metadata']['name']}-{number}")
            cluster.client.create_pod(gpu_pod(pods[-1], limits, annotations=template["metadata"]["annotations"]))
    held = {name: given(cluster, name) for name in pods}
    assert held.pop("finetune-0") == {"MIG-mixed-1-0": 39}
    assert Counter(uuid for one in held.values() for uuid in one) == {"MIG-mixed-1-1": 2, "MIG-mixed-1-2": 2}


def test_a_pod_that_is_bound_by_hand_gets_no_mig_device_as_its_gpu(cluster: SimulatedCluster) -> None:
    """The kubelet's plugin knows no plan for it; when the GPU is taken it fails, though MIG devices are idle."""
    for name, model in (("first", ""), ("second", ""), ("named", "*MIG*")):
        annotations = {NAMES.model_annotation: model} if model else {}
        body = gpu_pod(name, {NAMES.gpu_resource: 1}, annotations=annotations, schedulerName="by-hand")
        cluster.client.create_pod(body)
        cluster.client.bind_pod(name, "mixed")
        if name == "second":
            cluster.client.wait_for_phase(name, "Failed")
        else:
            cluster.client.wait_for_phase(name, "Running")
    assert given(cluster, "first") == {"GPU-mixed-0": 80}
    assert list(given(cluster, "named")) in (["MIG-mixed-1-0"], ["MIG-mixed-1-1"], ["MIG-mixed-1-2"])


def test_the_cordon_of_a_split_gpu_takes_all_of_its_mig_devices_out(cluster: SimulatedCluster) -> None:
    """They come back with it; one that is cordoned itself stays out."""

    def cordon(text: str | None) -> None:
        cluster.client.patch_node("mixed", {"metadata": {"annotations": {NAMES.cordon_annotation: text}}})

    def ill() -> set[str]:
        text = (cluster.client.node("mixed") or {})["metadata"]["annotations"][NAMES.inventory_annotation]
        return {gpu.uuid for gpu in parse_inventory(text).gpus if not gpu.healthy}

    cordon("GPU-mixed-1")
    wait_until(lambda: ill() == {f"MIG-mixed-1-{device}" for device in range(3)}, "all to be out")
    create(cluster, "waits", 4, "*MIG*")
    assert "GPUs that would fit are unhealthy" in refusal(cluster, "waits")
    cordon("MIG-mixed-1-0")
    wait_until(lambda: ill() == {"MIG-mixed-1-0"}, "two to be back")
    assert list(given(cluster, "waits")) in (["MIG-mixed-1-1"], ["MIG-mixed-1-2"])
