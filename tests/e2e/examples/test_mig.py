"""Pods on a GPU that is split into MIG devices: shares of small ones, and a large one whole."""

from collections import Counter
from collections.abc import Iterator

import pytest

from bench.simulated.specs import GpuSpec, MachineSpec
from tests.e2e.examples.cluster import ExampleCluster, Walk
from tests.e2e.scenarios.environment import A100

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SPLIT = MachineSpec("gpu-mig", (GpuSpec(A100.model, A100.memory_mib, mig=("3g.40gb", "1g.10gb", "1g.10gb")),))


@pytest.fixture(autouse=True)
def _node(cluster: ExampleCluster) -> Iterator[None]:
    """A node with such a GPU, for this example alone."""
    cluster.environment.add_node(SPLIT)
    yield
    cluster.environment.remove_node(SPLIT.name)


def test_mig_devices(cluster: ExampleCluster, walk: Walk) -> None:
    """Four replicas on two small devices, the job on the large one, and nothing on the GPUs beside."""
    walk.step()
    replicas, job = cluster.placed("app=classifier", 4), cluster.placed("app=finetune", 1)
    large, *small = (gpu.uuid for gpu in SPLIT.inventory().gpus)
    assert Counter(uuid for pod in replicas for uuid in pod.gpus) == dict.fromkeys(small, 2)
    assert [pod.gpus for pod in job] == [{large: 39}]
    cluster.wait_conserved(replicas, job)
    walk.step()
