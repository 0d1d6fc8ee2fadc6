"""A real kubelet and the largest common node: eight GPUs of 141 GiB in units of 256 MiB, 4,512 devices."""

from collections.abc import Iterator

import pytest

from bench.simulated.waiting import wait_until
from tests.e2e.controlplane import ControlPlane
from tests.e2e.pluginprocess import Model, PluginProcess
from tests.e2e.realkubelet import RealKubelet
from tests.e2e.realnode import MEMORY, NAMES, NAMESPACE, OVERLAY, PLUGIN_ACCOUNT, SYSTEM, placed, share

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODELS = (Model("NVIDIA H200", 141 * 1024, 8),)
DEVICES, PER_GPU, HALF = 4512, 564, 282


@pytest.fixture
def plugin(control_plane: ControlPlane, real_kubelet: RealKubelet) -> Iterator[PluginProcess]:
    """The shipped plugin with these GPUs, under the rights of the manifests; no extender: pods are bound by hand."""
    control_plane.apply(OVERLAY)
    control_plane.api.create_namespace(NAMESPACE)
    access = control_plane.kubeconfig_for(SYSTEM, PLUGIN_ACCOUNT)
    started = PluginProcess(real_kubelet, access, MODELS, ("--memory-unit-mib=256",))
    try:
        started.start()
        yield started
        control_plane.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods")
    finally:
        started.stop()


def test_4512_devices_are_offered_given_out_to_the_last_and_reported(
    control_plane: ControlPlane, real_kubelet: RealKubelet, plugin: PluginProcess
) -> None:
    """Sixteen halves of a GPU, each on one; the kubelet writes every ID of theirs into the pods' status."""
    wait_until(
        lambda: real_kubelet.allocatable(MEMORY) == str(DEVICES), what="the node to offer every unit", timeout_s=120
    )
    api = control_plane.api
    for number in range(2 * DEVICES // PER_GPU):
        api.create_pod(NAMESPACE, share(f"half-{number}", HALF, nodeName=real_kubelet.node_name))
    used: dict[str, int] = {}
    for number in range(2 * DEVICES // PER_GPU):
        name = f"half-{number}"
        real_kubelet.wait_running(NAMESPACE, name, timeout_s=120)
        wait_until(
            lambda name=name: NAMES.allocated_annotation in api.pod(NAMESPACE, name)["metadata"].get("annotations", {}),  # type: ignore[misc]
            what=f"the plugin's report on {name}",
        )
        ((uuid, units),) = placed(api.pod(NAMESPACE, name))["main"].items()
        assert units == HALF
        used[uuid] = used.get(uuid, 0) + units
    assert sorted(used.values()) == [PER_GPU] * 8
    assert plugin.count("gpupack_plugin_allocations_total", outcome="given") == len(used) * 2
