"""A GPU out of service whose pods run on: what they hold is not taken from the other GPUs, and nobody else gets it."""

from collections.abc import Iterator

import pytest

from bench.simulated.waiting import wait_until
from tests.e2e.api import Json
from tests.e2e.controlplane import ControlPlane
from tests.e2e.pluginprocess import Model
from tests.e2e.podspecs import container, pod
from tests.e2e.realkubelet import RealKubelet
from tests.e2e.realnode import CORE, MEMORY, NAMESPACE, RealNode, placed, processes, share, the_gpu, total

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ILL, WELL = 0, 1


@pytest.fixture(scope="module")
def two_gpus(
    control_plane: ControlPlane, real_kubelet: RealKubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealNode]:
    """A node with two GPUs of 16 units."""
    models = (Model("Tesla T4", 16 * 1024, 2),)
    with RealNode(control_plane, real_kubelet, tmp_path_factory.mktemp("node"), models) as started:
        yield started


@pytest.fixture
def ill(two_gpus: RealNode) -> Iterator[RealNode]:
    """That node, well at first and without pods afterwards."""
    two_gpus.plugin.set_unhealthy([])
    two_gpus.wait_allocatable(32, 2)
    two_gpus.wait_known(2)
    yield two_gpus
    two_gpus.clear()


def fall_ill(node: RealNode, uuid: str) -> None:
    """Take a GPU out of service, and wait until the extender knows."""
    node.plugin.set_unhealthy([node.gpus()[uuid]["index"]])
    wait_until(lambda: not node.gpus()[uuid]["healthy"], what="the extender to know that the GPU is unhealthy")


def wait_offered(node: RealNode, *amounts: int) -> None:
    """Wait until the Node offers so many units, whole GPUs and percent of compute."""
    wait_until(lambda: node.allocatable() == amounts, what=f"the node to offer {amounts}", timeout_s=60)


def test_what_a_pod_holds_of_an_ill_gpu_is_not_taken_from_the_other(ill: RealNode) -> None:
    """The smallest case: two GPUs, one full and ill, and a pod of one unit; what the first leaves is not offered."""
    full = ill.run(pod("full", container(limits={MEMORY: 16, CORE: 60})))
    fall_ill(ill, the_gpu(full))
    wait_offered(ill, 32, 1, 160)
    assert the_gpu(ill.run(pod("one", container(limits={MEMORY: 1, CORE: 100})))) != the_gpu(full)
    assert processes(ill.pod("full")) == processes(full)
    ill.delete("full")
    wait_offered(ill, 16, 1, 100)
    ill.create(share("more", 16))
    ill.api.wait_unschedulable(NAMESPACE, "more", "gpupack.io/gpu-mem")
    # Past the scheduler: the kubelet gives what is free.
    by_hand = ill.run(share("by-hand", 15, nodeName=ill.kubelet.node_name))
    assert the_gpu(by_hand) != the_gpu(full)


def test_a_whole_gpu_that_falls_ill_is_not_taken_from_the_other(ill: RealNode) -> None:
    """Its pod asks for one of two GPUs, and one is free."""
    kept = ill.run(pod("kept", container(limits={"gpupack.io/gpu": 1})))
    fall_ill(ill, the_gpu(kept))
    wait_offered(ill, 16, 2, 100)
    other = ill.run(pod("other", container(limits={"gpupack.io/gpu": 1})))
    assert the_gpu(other) != the_gpu(kept)


def test_a_pod_on_an_ill_gpu_survives_restarts_of_its_container_and_of_the_kubelet(ill: RealNode) -> None:
    """The kubelet asks for no new devices, and finds those that it remembers healthy, even if the container waits."""
    spec = container(limits={MEMORY: 8}, arguments=("-for=3s", "-exit=1"))
    again = ill.run(pod("again", spec, restartPolicy="Always"))
    stays = ill.run(share("stays", 8))
    fall_ill(ill, the_gpu(again))
    wait_offered(ill, 32, 1, 100)
    given = ill.plugin.count("gpupack_plugin_allocations_total", outcome="given")
    wait_until(lambda: restarts(ill.pod("again")), what="the container to be restarted", timeout_s=60)
    assert ill.plugin.count("gpupack_plugin_allocations_total", outcome="given") == given
    wait_until(lambda: "waiting" in state(ill.pod("again")), what="the container to wait for a restart", timeout_s=60)
    ill.kubelet.restart()
    wait_offered(ill, 32, 1, 100)
    seen = restarts(ill.pod("again"))
    wait_until(lambda: restarts(ill.pod("again")) > seen, what="one more restart", timeout_s=120)
    assert processes(ill.pod("stays")) == processes(stays)
    assert ill.account(again) == total(placed(again))
    assert the_gpu(ill.run(share("beside", 16))) != the_gpu(again)


def restarts(found: Json) -> int:
    """How often the pod's container was started again."""
    return int(found["status"]["containerStatuses"][0]["restartCount"])


def state(found: Json) -> Json:
    """What the pod's container does."""
    current: Json = found["status"]["containerStatuses"][0]["state"]
    return current
