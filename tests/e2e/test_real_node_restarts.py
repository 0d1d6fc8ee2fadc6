"""Restarts on a real node: of the kubelet, of the plugin, and of a kubelet that has lost its memory of devices."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bench.simulated.waiting import wait_until
from tests.e2e.api import Json
from tests.e2e.realnode import (
    GPUS,
    NAMES,
    NAMESPACE,
    ON_A100,
    PLUGIN_ACCOUNT,
    SYSTEM,
    UNITS,
    RealNode,
    placed,
    processes,
    share,
    the_gpu,
    total,
    whole,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def two_running(real_node: RealNode) -> list[Json]:
    """A share of 50 units on one A100 and a whole other one."""
    return [
        real_node.run(share("share", 50, annotations=ON_A100)),
        real_node.run(whole("whole", 1, annotations=ON_A100)),
    ]


def check_as_before(real_node: RealNode, before: list[Json]) -> None:
    """The same processes on the same GPUs, and a new pod that gets what is planned for it beside them."""
    real_node.wait_allocatable(UNITS, GPUS)
    for found in before:
        now = real_node.pod(found["metadata"]["name"])
        assert (processes(now), placed(now)) == (processes(found), placed(found))
        assert real_node.account(found) == total(placed(found))
    # The rest of the shared GPU is the tightest place for it, to the unit.
    new = real_node.run(share("new", 30, annotations=ON_A100))
    assert placed(new) == placed(new, NAMES.allocation_annotation) == {"main": {the_gpu(before[0]): 30}}
    assert real_node.environment("new")["NVIDIA_VISIBLE_DEVICES"] == the_gpu(before[0])
    real_node.wait_agreed()


def test_pods_keep_their_gpus_while_the_kubelet_restarts(real_node: RealNode) -> None:
    """The plugin makes its sockets anew and registers again; the kubelet's checkpoint keeps the account."""
    before = two_running(real_node)
    real_node.kubelet.restart()
    check_as_before(real_node, before)


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_pods_keep_their_gpus_while_the_plugin_restarts(real_node: RealNode, signal: str) -> None:
    """Nothing is allocatable while it is away; afterwards all is as before."""
    before = two_running(real_node)
    (real_node.plugin.kill if signal == "SIGKILL" else real_node.plugin.terminate)()
    real_node.wait_allocatable(0, 0)
    real_node.plugin.start()
    check_as_before(real_node, before)


def test_a_plugin_that_starts_before_the_kubelet_serves_once_the_kubelet_is_there(real_node: RealNode) -> None:
    """The kubelet deletes the sockets that it finds; the plugin has to notice."""
    before = two_running(real_node)
    real_node.plugin.terminate()
    real_node.kubelet.stop()
    real_node.plugin.start(ready=False)
    wait_until(
        lambda: "kubelet" in (real_node.plugin.not_ready_because() or ""),
        what="the plugin to miss the kubelet",
        timeout_s=120,
    )
    real_node.kubelet.start()
    real_node.plugin.wait_ready()
    check_as_before(real_node, before)


def test_pods_bound_while_the_kubelet_is_away_get_their_gpus_when_it_is_back(real_node: RealNode) -> None:
    """The plugin has registered again before the kubelet admits what has piled up."""
    before = two_running(real_node)
    real_node.kubelet.stop()
    names = [real_node.create(share(f"piled-{number}", 10, annotations=ON_A100)) for number in range(3)]
    names.append(real_node.create(whole("piled-whole", 1, annotations=ON_A100)))
    for name in names:
        real_node.api.wait_scheduled(NAMESPACE, name)
    real_node.kubelet.start()
    for name in names:
        real_node.kubelet.wait_running(NAMESPACE, name)
    assert [placed(real_node.wait_reported(name)) for name in names[:3]] == [{"main": {the_gpu(before[0]): 10}}] * 3
    real_node.wait_agreed()


def test_a_kubelet_that_lost_its_checkpoint_gives_out_no_gpu_twice(real_node: RealNode) -> None:
    """The plugin's records on the running pods are what is left, and both extender and plugin keep to them.

    The kubelet admits no container that runs already, so it never gets its account of their devices back: podresources
    does not show them, and their IDs are offered again. Their processes run on with the environment that they have.
    """
    before = two_running(real_node)
    real_node.kubelet.stop()
    real_node.kubelet.wipe_checkpoint()
    real_node.kubelet.start()
    real_node.wait_allocatable(UNITS, GPUS)
    real_node.wait_known()
    used = {uuid: amount for uuid, amount in real_node.used().items() if amount}
    assert used == total(placed(before[0])) | total(placed(before[1]))
    fills = real_node.run(share("fills", 30, annotations=ON_A100))
    assert the_gpu(fills) == the_gpu(before[0])
    other = real_node.run(whole("other", 1, annotations=ON_A100))
    assert the_gpu(other) != the_gpu(before[1])
    # Past the scheduler, so past the extender.
    by_hand = real_node.run(share("by-hand", 60, nodeName=real_node.kubelet.node_name))
    assert the_gpu(by_hand) not in {the_gpu(found) for found in (*before, other)}
    now = [real_node.pod(found["metadata"]["name"]) for found in before]
    assert [processes(found) for found in now] == [processes(found) for found in before]
    assert [placed(found) for found in now] == [placed(found) for found in before]
    assert set(real_node.given()) == {"fills", "other", "by-hand"}
    real_node.wait_charged("by-hand", total(placed(by_hand)))
    assert not any(gpu["overcommitted"] for gpu in real_node.gpus().values())


@pytest.fixture
def cut_off(real_node: RealNode, tmp_path: Path) -> Iterator[RealNode]:
    """The node with a plugin that started while it alone can't reach the API server; `reconnect` ends that."""
    kubeconfig = yaml.safe_load(real_node.control_plane.kubeconfig_for(SYSTEM, PLUGIN_ACCOUNT).read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    real_node.plugin.terminate()
    real_node.wait_allocatable(0, 0)
    real_node.plugin.options = (f"--kubeconfig={tmp_path / 'kubeconfig'}",)
    real_node.plugin.start(ready=False)
    real_node.wait_allocatable(UNITS, GPUS)
    yield real_node
    reconnect(real_node)


def reconnect(real_node: RealNode) -> None:
    """Replace the plugin by one that reaches the API server."""
    real_node.plugin.terminate()
    real_node.plugin.options = ()
    real_node.plugin.start()


def kept_waiting(real_node: RealNode, name: str) -> str:
    """What the kubelet says of a container that it could not start; empty while it says nothing."""
    statuses = real_node.pod(name)["status"].get("containerStatuses", [])
    return "".join(each["state"].get("waiting", {}).get("message", "") for each in statuses)


def wait_kept(real_node: RealNode, name: str, why: str) -> None:
    """Wait until the kubelet says why it could not start a container."""
    wait_until(lambda: why in kept_waiting(real_node, name), what=f"{name} to wait: {why}", timeout_s=120)


def test_a_pod_that_the_plugin_cannot_read_waits_and_is_never_silently_on_too_few_gpus(cut_off: RealNode) -> None:
    """Any one GPU is right for the first, and it starts when the plugin knows; the second says what to do."""
    cut_off.create(share("one", 8))
    cut_off.create(share("two", 16, annotations={**ON_A100, NAMES.count_annotation: "2"}))
    for name in ("one", "two"):
        wait_kept(cut_off, name, "the API server cannot be asked")
    reconnect(cut_off)
    cut_off.kubelet.wait_running(NAMESPACE, "one")
    wait_kept(cut_off, "two", "its memory is on 1 of 2 GPUs")
    events = cut_off.api.get(f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
    assert [each["reason"] for each in events if each["involvedObject"]["name"] == "two"].count("GPUCountNotKept") == 1
    cut_off.delete("two")
    again = cut_off.run(share("again", 16, annotations={**ON_A100, NAMES.count_annotation: "2"}))
    assert len(placed(again)["main"]) == 2
    cut_off.wait_agreed()
