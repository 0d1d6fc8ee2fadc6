"""Every turn in a GPU's health becomes one Event on the node, and one on each pod that sits there."""

from device_plugin.gpus.gpu import Gpus
from device_plugin.reporting.health_news import Turn, pods_on, turns
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, placed, pod, sample

A = GpuUuid("GPU-a")
WELL = Gpus(UNIT_MIB, (sample(),))
ILL = Gpus(UNIT_MIB, (sample(healthy=False, reason="XID 79"),))
WORSE = Gpus(UNIT_MIB, (sample(healthy=False, reason="XID 95"),))


def test_turns() -> None:
    """For the worse, for the better, for another reason, and not at all."""
    fell_ill = Turn(A, healthy=False, text="GPU GPU-a (Tesla T4) is not used: XID 79")
    assert turns(WELL, ILL) == (fell_ill,)
    assert turns(ILL, WELL) == (Turn(A, healthy=True, text="GPU GPU-a (Tesla T4) is used again"),)
    assert [turn.text for turn in turns(ILL, WORSE)] == ["GPU GPU-a (Tesla T4) is not used: XID 95"]
    assert turns(WELL, WELL) == turns(ILL, ILL) == ()


def test_at_the_start_only_ill_gpus_are_news() -> None:
    """A plugin that starts has nothing to say of a healthy node."""
    assert turns(None, WELL) == ()
    assert len(turns(None, ILL)) == 1


def test_a_gpu_that_is_gone_is_news() -> None:
    """Its pods are told, too."""
    assert turns(WELL, Gpus(UNIT_MIB)) == (Turn(A, healthy=False, text="GPU GPU-a (Tesla T4) is gone"),)


def test_pods_on_a_gpu_are_where_the_kubelet_put_them() -> None:
    """The plan counts only as long as nothing better is known."""
    moved = pod("moved", plan={"main": placed(a=8)}, allocated={"main": placed(b=8)})
    here = pod("here", plan={"main": placed(b=8)}, allocated={"main": placed(a=8)})
    coming = pod("coming", plan={"main": placed(a=8)})
    assert [found.name for found in pods_on(A, [moved, here, coming])] == ["here", "coming"]
