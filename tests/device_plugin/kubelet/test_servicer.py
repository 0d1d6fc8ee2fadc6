"""The kubelet's calls over real sockets: devices, choices, answers, refusals, and the record before a start."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from device_plugin.settings import NumaHints
from extender.kube.objects import Identity
from tests.device_plugin.builders import gpus, pod_body, relist
from tests.device_plugin.serving import MEMORY, WHOLE, Plugin
from tests.fakes.kubelet_server import FakeKubelet

LEAST_GAP_S = 0.2
"""Between two lists of one resource."""


@pytest.fixture
def plugin(folder: Path) -> Iterator[Plugin]:
    """A plugin with two GPUs that is not started yet."""
    found = Plugin(folder, a=16, b=8)
    yield found
    found.stop()


def test_lesson_18_a_health_flip_is_one_message_and_comes_back(folder: Path, plugin: Plugin) -> None:
    """Three lists: well, one GPU ill, well again; the other GPU is never touched."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        well = plugin.source.samples
        ill = gpus(a=16, b=8).samples[1]
        object.__setattr__(ill, "healthy", False)
        for count, samples in enumerate([(well[0], ill), (well[0], ill), well, well], start=2):
            plugin.source.samples = samples
            plugin.feed.step()
            if count in (2, 4):
                kubelet.wait_listed(MEMORY, 2 if count == 2 else 3)
        lists = kubelet.plugins[MEMORY].lists
        sick = [sorted({name[:5] for name, health in each.items() if health == "Unhealthy"}) for each in lists]
        assert sick == [[], ["GPU-b"], []]


def test_lesson_11_a_burst_of_changes_is_not_a_burst_of_lists(folder: Path, plugin: Plugin) -> None:
    """A hundred samples, each different; the kubelet sees a few lists, and the last state in the end."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        started_s = time.monotonic()
        for number in range(100):
            plugin.source.samples = gpus(a=16, b=8 + number % 2).samples
            plugin.feed.step()
        assert kubelet.wait_for(lambda: len(kubelet.plugins[MEMORY].lists[-1]) == 25)
        # The first, the one that was due, and one for each gap since, however long this machine took for the samples.
        assert len(kubelet.plugins[MEMORY].lists) <= 2 + (time.monotonic() - started_s) / LEAST_GAP_S


@pytest.mark.parametrize(("hints", "told"), [(NumaHints.NONE, []), (NumaHints.WHOLE_GPUS, [1])])
def test_numa_nodes_are_told_of_whole_gpus_alone_and_only_if_asked(
    folder: Path, hints: NumaHints, told: list[int]
) -> None:
    """Of shares they would say nothing true of any one GPU; an unknown one is left out."""
    plugin = Plugin(folder, hints, a=1, b=1)
    plugin.source.samples = (replace(plugin.source.samples[0], numa_node=1), plugin.source.samples[1])
    plugin.feed.step()
    try:
        with FakeKubelet(folder) as kubelet:
            plugin.start()
            kubelet.wait_listed(MEMORY)
            kubelet.wait_listed(WHOLE)
            assert kubelet.plugins[MEMORY].topologies == {"GPU-a-0": [], "GPU-b-0": []}
            assert kubelet.plugins[WHOLE].topologies == {"GPU-a": told, "GPU-b": []}
    finally:
        plugin.stop()


def test_the_numa_node_of_a_gpu_is_taken_back_while_a_share_is_on_it(folder: Path) -> None:
    """As a whole it is not free, though the kubelet thinks so; it must not align a container to it."""
    plugin = Plugin(folder, NumaHints.WHOLE_GPUS, a=1, b=1)
    plugin.source.samples = tuple(replace(each, numa_node=place) for place, each in enumerate(plugin.source.samples))
    plugin.feed.step()
    try:
        with FakeKubelet(folder) as kubelet:
            plugin.start()
            kubelet.wait_listed(WHOLE)
            assert kubelet.plugins[WHOLE].topologies == {"GPU-a": [0], "GPU-b": [1]}
            kubelet.admit("p", MEMORY, 1)
            kubelet.wait_listed(WHOLE, 2)
            assert kubelet.plugins[WHOLE].topologies == {"GPU-a": [], "GPU-b": [1]}
    finally:
        plugin.stop()


def test_devices_that_a_pod_holds_stay_healthy_on_an_ill_gpu_until_it_has_ended(folder: Path, plugin: Plugin) -> None:
    """The rest of the GPU is unhealthy at once, and all of it when its pod has ended; two lists, not one a device."""
    relist(plugin.pods, [pod_body("p", {"main": {"GPU-a": 10}})])
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        held, _ = kubelet.admit("p", MEMORY, 10)
        plugin.source.samples = (replace(plugin.source.samples[0], healthy=False), plugin.source.samples[1])
        plugin.feed.step()
        kubelet.wait_listed(MEMORY, 2)
        assert healthy(kubelet) == {*held, *(f"GPU-b-{number}" for number in range(8))}
        plugin.pods.deleted(Identity("default", "p", "uid-p"))
        kubelet.wait_listed(MEMORY, 3)
        assert healthy(kubelet) == {f"GPU-b-{number}" for number in range(8)}
        assert len(kubelet.plugins[MEMORY].lists) == 3


def healthy(kubelet: FakeKubelet) -> set[str]:
    """The units that the kubelet may give out, those in use included, by its newest list."""
    return {name for name, health in kubelet.plugins[MEMORY].lists[-1].items() if health == "Healthy"}


def test_lesson_03_a_refused_allocate_is_an_error_with_its_reason(folder: Path, plugin: Plugin) -> None:
    """The kubelet shows the text in the pod's event; the code says what kind it is."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        found = []
        for asked in (["GPU-z-0"], ["GPU-a-0", "GPU-b-0"]):
            with pytest.raises(grpc.RpcError) as caught:
                kubelet.allocate(MEMORY, asked)
            found.append((caught.value.code(), caught.value.details()))
        assert [code for code, _ in found] == [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert found[0][1] == "gpupack.io/gpu-mem: device 'GPU-z-0': this node has no GPU GPU-z"
        assert "free only spread over 2 GPUs" in found[1][1]


def test_lesson_01_sixty_four_containers_each_get_one_gpu_and_a_true_record(folder: Path) -> None:
    """Eight GPUs filled to the last unit, admitted in another order than bound; records equal podresources."""
    plugin = Plugin(folder, **dict.fromkeys("abcdefgh", 16))
    planned = {f"p{number}": f"GPU-{'abcdefgh'[number % 8]}" for number in range(64)}
    bodies = {name: pod_body(name, {"main": {uuid: 2}}) for name, uuid in planned.items()}
    relist(plugin.pods, bodies.values())
    plugin.api.take(bodies.values())
    try:
        with FakeKubelet(folder) as kubelet:
            plugin.start()
            kubelet.wait_listed(MEMORY)
            for number in range(64):
                ids, _ = kubelet.admit(f"p{number * 37 % 64}", MEMORY, 2)
                assert len({name.rpartition("-")[0] for name in ids}) == 1
                kubelet.pre_start(MEMORY, ids)
            assert kubelet.free(MEMORY) == set()
            actual = {held.pod: {name.rpartition("-")[0] for name in held.ids} for held in kubelet.holdings}
            assert {name: plugin.api.gpus_of(name) for name in bodies} == actual
    finally:
        plugin.stop()


def test_a_container_does_not_start_before_its_pod_is_known(folder: Path, plugin: Plugin) -> None:
    """The kubelet shows the text in the pod's status and tries again; here no API server answers, but the watch."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        ids, _ = kubelet.admit("p", MEMORY, 8)
        with pytest.raises(grpc.RpcError) as caught:
            kubelet.pre_start(MEMORY, ids)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details().startswith("gpupack.io/gpu-mem: the API server cannot be asked which pod")
        body = pod_body("p", {"main": {"GPU-b": 8}})
        relist(plugin.pods, [body])
        plugin.api.take([body])
        kubelet.pre_start(MEMORY, ids)
        labels = {"resource": MEMORY}
        assert plugin.metrics.registry.get_sample_value("gpupack_plugin_refused_starts_total", labels) == 1


def test_device_nodes_are_named_to_the_kubelet(folder: Path, plugin: Plugin) -> None:
    """The same path on the node and in the container, to read and write; not to make nodes of one's own."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        (spec,) = kubelet.allocate(MEMORY, ["GPU-a-0"]).devices
        assert (spec.host_path, spec.container_path, spec.permissions) == ("/dev/GPU-a", "/dev/GPU-a", "rw")


def test_a_large_node_is_preferred_and_allocated_over_grpc(folder: Path) -> None:
    """4,512 units (16 GPUs of 282 GiB): more than a request of the smaller gRPC limits would carry."""
    plugin = Plugin(folder, **{f"{'x' * 36}{number}": 282 for number in range(16)})
    relist(plugin.pods, [pod_body("p", {"main": {f"GPU-{'x' * 36}7": 200}})])
    try:
        with FakeKubelet(folder) as kubelet:
            plugin.start()
            assert len(kubelet.wait_listed(MEMORY)[0]) == 4512
            _, answer = kubelet.admit("p", MEMORY, 200)
            assert (answer.envs["GPUPACK_GPU_UUIDS"], answer.envs["GPUPACK_GPU_MEM_MIB"]) == (
                f"GPU-{'x' * 36}7",
                "204800",
            )
    finally:
        plugin.stop()
