"""podresources' messages become entries, and one answer serves all who ask at the same time."""

import threading
import time
from pathlib import Path

import pytest

from device_plugin.kubelet.deciding.attributing import Entry
from device_plugin.kubelet.podresources import PodResources, PodResourcesError
from device_plugin.settings import Resource
from tests.fakes.kubelet_server import FakeKubelet, Holding

RESOURCES = {"gpupack.io/gpu-mem": Resource.MEMORY, "gpupack.io/gpu": Resource.WHOLE}


def test_entries_are_gathered_by_container_and_resource(folder: Path) -> None:
    """The kubelet writes one message per device; other resources are left out."""
    with FakeKubelet(folder) as kubelet:
        kubelet.holdings = [
            Holding("default", "p", "main", "gpupack.io/gpu-mem", frozenset({"GPU-a-0", "GPU-a-1"})),
            Holding("default", "p", "main", "example.com/nic", frozenset({"eth0"})),
            Holding("other", "p", "main", "gpupack.io/gpu", frozenset({"GPU-b"})),
        ]
        reader = PodResources(kubelet.podresources_socket, RESOURCES)
        entries = reader.read(time.monotonic(), 10.0).entries
        reader.close()
    assert entries == (
        Entry("default", "p", "main", Resource.MEMORY, frozenset({"GPU-a-0", "GPU-a-1"})),
        Entry("other", "p", "main", Resource.WHOLE, frozenset({"GPU-b"})),
    )


def test_an_answer_that_is_new_enough_is_shared(folder: Path) -> None:
    """Sixteen containers that start at once cost a few calls; an older answer serves nobody."""
    with FakeKubelet(folder) as kubelet:
        reader = PodResources(kubelet.podresources_socket, RESOURCES)
        first = reader.read(time.monotonic(), 10.0)
        wanted_s = time.monotonic()
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(reader.read(wanted_s, 10.0).asked_s)) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reader.close()
    assert (len(set(found)), found[0] > first.asked_s) == (1, True)


def test_a_socket_that_is_not_there_is_a_problem(folder: Path) -> None:
    """As where the kubelet has another root folder, and the plugin's is an empty one that a hostPath made."""
    reader = PodResources(folder / "pr.sock", RESOURCES)
    absent = f"no podresources at {folder}/pr.sock: what the kubelet gave is not seen"
    assert reader.problem == absent
    (folder / "pr.sock").touch()
    assert reader.problem == absent
    (folder / "pr.sock").unlink()
    with FakeKubelet(folder):
        assert reader.problem == ""
    reader.close()


def test_a_kubelet_that_is_away_is_an_error_and_comes_back(folder: Path) -> None:
    """Within the timeout each."""
    reader = PodResources(folder / "pr.sock", RESOURCES)
    with pytest.raises(PodResourcesError, match="podresources: "):
        reader.read(time.monotonic(), 1.0)
    with FakeKubelet(folder):
        deadline_s = time.monotonic() + 10.0
        while True:
            try:
                assert reader.read(time.monotonic(), 1.0).entries == ()
                break
            except PodResourcesError:
                assert time.monotonic() < deadline_s
    reader.close()
