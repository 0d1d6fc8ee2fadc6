"""Serving and registering through restarts of the kubelet and of the plugin, over real sockets."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.waiting import wait_until as until
from device_plugin.kubelet.lifecycle import stamp_of
from device_plugin.settings import Resource
from tests.device_plugin.serving import MEMORY, WHOLE, Plugin
from tests.fakes.kubelet_server import FakeKubelet


@pytest.fixture
def plugin(folder: Path) -> Iterator[Plugin]:
    """A plugin with two GPUs that is not started yet."""
    found = Plugin(folder, a=16, b=8)
    yield found
    found.stop()


def test_both_resources_are_registered_with_their_devices(folder: Path, plugin: Plugin) -> None:
    """24 units and two GPUs; both optional calls are asked for."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        counts = [len(kubelet.wait_listed(resource)[0]) for resource in (MEMORY, WHOLE)]
        options = kubelet.plugins[MEMORY].options
        assert (counts, options.pre_start_required, options.get_preferred_allocation_available) == ([24, 2], True, True)
        until(lambda: not plugin.lifecycle.problem)


def test_a_plugin_that_starts_before_the_kubelet_waits_for_it(folder: Path, plugin: Plugin) -> None:
    """The kubelet deletes the plugin's sockets when it starts; they come back."""
    plugin.start()
    until(lambda: "no kubelet at" in plugin.lifecycle.problem)
    with FakeKubelet(folder) as kubelet:
        assert len(kubelet.wait_listed(MEMORY)[0]) == 24


def test_a_kubelet_that_restarts_gets_new_registrations(folder: Path, plugin: Plugin) -> None:
    """Twice, with working calls in between."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        for _ in range(2):
            kubelet.wait_listed(MEMORY)
            kubelet.wait_listed(WHOLE)
            assert kubelet.allocate(MEMORY, ["GPU-a-0"]).envs["GPUPACK_GPU_UUIDS"] == "GPU-a"
            kubelet.restart()
        kubelet.wait_listed(MEMORY)
        assert kubelet.registrations.count(MEMORY) == 3


def test_a_socket_that_somebody_removed_is_served_anew(folder: Path, plugin: Plugin) -> None:
    """Though the kubelet runs on."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        (folder / "gpupack-gpu-mem.sock").unlink()
        assert kubelet.wait_for(lambda: kubelet.registrations.count(MEMORY) == 2)


def test_a_plugin_that_died_left_its_sockets_behind(folder: Path, plugin: Plugin) -> None:
    """They are replaced at the next start."""
    with FakeKubelet(folder) as kubelet:
        for resource in Resource:
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(folder / plugin.settings.socket_name(resource)))
        plugin.start()
        assert len(kubelet.wait_listed(MEMORY)[0]) == 24


def test_the_newer_of_two_plugins_serves(folder: Path, plugin: Plugin) -> None:
    """An update starts the new one while the old one ends; they do not fight, and the old takes nothing with it."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        second = Plugin(folder, a=16).start()
        try:
            assert kubelet.wait_for(
                lambda: len(kubelet.plugins[MEMORY].lists) == 1 and len(kubelet.plugins[MEMORY].lists[0]) == 16
            )
            until(lambda: "another device plugin serves" in plugin.lifecycle.problem)
            plugin.stop_event.set()
            plugin.thread.join(10.0)
            assert kubelet.allocate(MEMORY, ["GPU-a-0"]).envs["GPUPACK_GPU_UUIDS"] == "GPU-a"
        finally:
            second.stop()


def test_a_plugin_that_ends_leaves_no_socket(folder: Path, plugin: Plugin) -> None:
    """Nothing dead is left to dial."""
    with FakeKubelet(folder) as kubelet:
        plugin.start()
        kubelet.wait_listed(MEMORY)
        kubelet.wait_listed(WHOLE)
        plugin.stop_event.set()
        plugin.thread.join(10.0)
        assert sorted(path.name for path in folder.iterdir()) == ["kubelet.sock", "pr.sock"]


def test_a_refused_registration_is_tried_again(folder: Path, plugin: Plugin) -> None:
    """With the kubelet's own words as the problem meanwhile."""
    with FakeKubelet(folder) as kubelet:
        kubelet.refuses = "not now"
        plugin.start()
        until(lambda: "refuses the registration: not now" in plugin.lifecycle.problem)
        kubelet.refuses = ""
        kubelet.wait_listed(MEMORY)


def test_a_stamp_tells_a_new_socket_from_the_old(folder: Path) -> None:
    """And none from any."""
    file = folder / "file"
    stamps = [stamp_of(file)]
    for _ in range(2):
        file.unlink(missing_ok=True)
        file.touch()
        stamps.append(stamp_of(file))
    assert len(set(stamps)) == 3
