"""The whole plugin on a container that uses more than its share: it is said, and with eviction turned on it goes."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.waiting import wait_until as until
from device_plugin.settings import Safeguards
from tests.device_plugin.test_service import MEMORY, Cluster, Running, said

GPUS = """gpus:
  - {model: NVIDIA A10, memory_mib: 23028, uuids: [GPU-x],
     processes: [{used_mib: 9000, pod: default/p, container: main}]}
"""


@pytest.mark.parametrize("evicts", [False, True])
def test_a_container_over_its_share_is_reported_and_evicted_only_where_that_is_on(
    folder: Path, *, evicts: bool
) -> None:
    """The GPU stands on the rung `watched`; a budget that forbids the eviction is respected."""
    with ApiServer() as server:
        cluster = Cluster(folder, server)
        cluster.gpus_file.write_text(GPUS)
        guards = Safeguards(overuse_grace_s=0.2, evict_overuse=evicts, probe_interval_s=0.2)
        settings = replace(cluster.settings, measure_interval_s=0.1, safeguards=guards)
        server.inject(Fault(method="POST", path="/eviction", status=429))
        cluster.bind("p", {"main": {"GPU-x": 8}})
        with cluster.kubelet, Running(settings):
            cluster.kubelet.wait_listed(MEMORY)
            until(lambda: [gpu["enforcement"] for gpu in cluster.inventory()] == ["watched"])
            _, answer = cluster.kubelet.admit("p", MEMORY, 8)
            assert answer.envs["GPUPACK_ENFORCEMENT"] == "watched"
            expected = "container main uses 9000 MiB of GPU GPU-x, its share is 8192 MiB"
            until(lambda: ("GPUMemoryOverShare", expected) in said(cluster, "p"))
            if evicts:
                until(lambda: any(reason == "GPUMemoryEvictionBlocked" for reason, _ in said(cluster, "p")))
        found = cluster.client.pod("p")
        assert found is not None
        assert "deletionTimestamp" not in found["metadata"]
        asked = [request for request in server.requests() if request.endswith("/pods/p/eviction")]
        assert len(asked) == evicts
        cluster.client.close()
