"""A node with two NUMA nodes, under each policy of the kubelet's topology manager.

The kubelet aligns a container to the NUMA node on which enough devices are free, over all GPUs there, and asks the
plugin only for devices among these. So what it is told of NUMA decides whether a pod gets the GPU planned for it.
"""

from collections.abc import Iterator

import pytest

from bench.simulated.waiting import wait_until
from tests.e2e.controlplane import ControlPlane
from tests.e2e.pluginprocess import Model
from tests.e2e.realkubelet import RealKubelet, why_not
from tests.e2e.realnode import NAMES, RealNode, placed, share, the_gpu, whole

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODELS = (Model("Tesla T4", 16 * 1024, 2, 0), Model("Tesla T4", 16 * 1024, 2, 1))
"""Four GPUs of 16 units, two on each NUMA node."""
UNITS, GPUS = 64, 4


@pytest.fixture(scope="module")
def numa_kubelet(control_plane: ControlPlane) -> Iterator[RealKubelet]:
    """A kubelet that sees two NUMA nodes."""
    reason = why_not(control_plane.binaries)
    if reason is not None:
        pytest.skip(reason)
    with RealKubelet(control_plane, numa_nodes=2) as started:
        yield started


@pytest.fixture(scope="module")
def numa_node(
    control_plane: ControlPlane, numa_kubelet: RealKubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealNode]:
    """That node with extender, kube-scheduler and device plugin."""
    with RealNode(control_plane, numa_kubelet, tmp_path_factory.mktemp("node"), MODELS) as started:
        yield started


@pytest.fixture(params=["none", "best-effort", "single-numa-node"])
def aligned(request: pytest.FixtureRequest, numa_node: RealNode) -> Iterator[RealNode]:
    """The node under one policy, empty before and afterwards."""
    numa_node.kubelet.reconfigure(topologyManagerPolicy=request.param)
    numa_node.wait_allocatable(UNITS, GPUS)
    numa_node.wait_known(GPUS)
    yield numa_node
    numa_node.clear()


def test_a_share_gets_its_gpu_where_the_rests_of_two_look_like_room(aligned: RealNode) -> None:
    """6 and 6 units are left on NUMA node 0: together they look like 12, and the third pod of 10 is for a third GPU."""
    for name in ("p1", "p2", "p3"):
        found = aligned.run(share(name, 10))
        assert placed(found) == placed(found, NAMES.allocation_annotation)
    assert len({the_gpu(found) for found in aligned.pods()}) == 3
    aligned.wait_agreed()


def test_a_whole_gpu_is_given_beside_shares(aligned: RealNode) -> None:
    """With shares on both GPUs of a NUMA node the whole ones are on the other."""
    check_whole_gpus_beside_shares(aligned)


@pytest.fixture
def hinted(numa_node: RealNode) -> Iterator[RealNode]:
    """The node under the strictest policy, with a plugin that tells the NUMA nodes of whole GPUs."""
    numa_node.plugin.terminate()
    numa_node.plugin.options = ("--numa-hints=whole-gpus",)
    numa_node.plugin.start()
    numa_node.kubelet.reconfigure(topologyManagerPolicy="single-numa-node")
    numa_node.wait_allocatable(UNITS, GPUS)
    numa_node.wait_known(GPUS)
    yield numa_node
    numa_node.clear()


def test_whole_gpus_are_aligned_if_the_plugin_is_told_to(hinted: RealNode) -> None:
    """GPUs with shares count for no NUMA node; two whole ones that are on two nodes are refused by the kubelet."""
    check_whole_gpus_beside_shares(hinted)
    for name in ("p1", "w1"):
        hinted.delete(name)
    hinted.create(whole("both", 2))
    wait_until(lambda: hinted.pod("both")["status"]["phase"] == "Failed", what="the kubelet to refuse the pod")
    assert hinted.pod("both")["status"]["reason"] == "TopologyAffinityError"


def check_whole_gpus_beside_shares(node: RealNode) -> None:
    """Shares on both GPUs of NUMA node 0, and each GPU of the other as a whole, as planned."""
    for name in ("p1", "p2"):
        node.run(share(name, 10))
    for name in ("w1", "w2"):
        found = node.run(whole(name, 1))
        assert placed(found) == placed(found, NAMES.allocation_annotation)
    node.wait_agreed()
