"""Every change of a GPU's health becomes one Event on the node, and one on each pod that uses it."""

import pytest

from device_plugin.gpus.gpu import Gpus
from device_plugin.reporting.health_events import HealthChange, health_changes, pods_on
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, placed, pod, sample

A = GpuUuid("GPU-a")
HEALTHY = Gpus(UNIT_MIB, (sample(),))
UNHEALTHY = Gpus(UNIT_MIB, (sample(healthy=False, reason="XID 79"),))
CORDONED = Gpus(UNIT_MIB, (sample(healthy=False, reason="cordoned by hand"),))
WORSE = Gpus(UNIT_MIB, (sample(healthy=False, reason="XID 95"),))


def test_health_changes() -> None:
    """For the worse, for the better, for another reason, and not at all."""
    broke = HealthChange(A, "GPUUnhealthy", "GPU GPU-a (Tesla T4) is not used: XID 79")
    assert health_changes(HEALTHY, UNHEALTHY) == (broke,)
    assert health_changes(UNHEALTHY, HEALTHY) == (HealthChange(A, "GPUHealthy", "GPU GPU-a (Tesla T4) is used again"),)
    assert [change.text for change in health_changes(UNHEALTHY, WORSE)] == ["GPU GPU-a (Tesla T4) is not used: XID 95"]
    assert health_changes(HEALTHY, HEALTHY) == health_changes(UNHEALTHY, UNHEALTHY) == ()


@pytest.mark.parametrize(
    ("before", "now", "reason", "state"),
    [
        (None, CORDONED, "GPUCordoned", "is out of service: cordoned by hand"),
        (HEALTHY, CORDONED, "GPUCordoned", "is out of service: cordoned by hand"),
        (UNHEALTHY, CORDONED, "GPUCordoned", "is out of service: cordoned by hand"),
        (CORDONED, HEALTHY, "GPUUncordoned", "is used again"),
        (CORDONED, UNHEALTHY, "GPUUnhealthy", "is not used: XID 79"),
    ],
)
def test_a_cordon_is_not_an_illness(before: Gpus | None, now: Gpus, reason: str, state: str) -> None:
    """Whatever the GPU was before; one that falls ill under a cordon is ill."""
    assert health_changes(before, now) == (HealthChange(A, reason, f"GPU GPU-a (Tesla T4) {state}"),)


def test_at_the_start_only_unhealthy_gpus_are_reported() -> None:
    """A plugin that starts has nothing to say of a healthy node."""
    assert health_changes(None, HEALTHY) == ()
    assert len(health_changes(None, UNHEALTHY)) == 1


def test_a_gpu_that_is_gone_is_reported() -> None:
    """Its pods are told, too."""
    assert health_changes(HEALTHY, Gpus(UNIT_MIB)) == (HealthChange(A, "GPUUnhealthy", "GPU GPU-a (Tesla T4) is gone"),)


def test_pods_on_a_gpu_are_where_the_kubelet_put_them() -> None:
    """The plan counts only as long as nothing better is known."""
    moved = pod("moved", plan={"main": placed(a=8)}, allocated={"main": placed(b=8)})
    here = pod("here", plan={"main": placed(b=8)}, allocated={"main": placed(a=8)})
    coming = pod("coming", plan={"main": placed(a=8)})
    assert [found.name for found in pods_on(A, [moved, here, coming])] == ["here", "coming"]
