"""Checks that a container has what its pod asks for, once podresources says whose the devices are.

Before that it is only guessed whose they are, perhaps wrongly while podresources or the API server does not answer.
"""

from collections.abc import Collection
from dataclasses import dataclass

from device_plugin.gpus.gpu import Gpus
from device_plugin.pods.pod import BoundPod, ContainerNeed
from extender.contract.names import Names
from extender.contract.units import GpuUuid

COUNT_NOT_KEPT = "GPUCountNotKept"
MODEL_NOT_KEPT = "GPUModelNotKept"

_ADVICE = "delete the pod, so that it is placed anew"


@dataclass(frozen=True, slots=True)
class Breach:
    """What a container got instead of what its pod asks for: the Event's reason, and the text for people."""

    reason: str
    text: str


def find_breach(
    pod: BoundPod, container: str, given: Collection[GpuUuid], gpus: Gpus | None, names: Names
) -> Breach | None:
    """What is wrong with these GPUs for a container; None if nothing is, or as far as it cannot be known."""
    need = pod.need(container)
    if need is None:
        return None
    if need.memory_units and len(given) != pod.gpu_count:
        what = f"its memory is on {len(given)} of {pod.gpu_count} GPUs ({names.count_annotation})"
        return Breach(COUNT_NOT_KEPT, f"{what}, because the device plugin could not read the pod in time: {_ADVICE}")
    wrong = "" if gpus is None else _wrong_model(pod, need, given, gpus, names)
    return Breach(MODEL_NOT_KEPT, f"{wrong}: {_ADVICE}") if wrong else None


def _wrong_model(pod: BoundPod, need: ContainerNeed, given: Collection[GpuUuid], gpus: Gpus, names: Names) -> str:
    """Why these GPUs are of the wrong kind.

    What a gpu-model accepts is the extender's to know: its plan shows a model that is. A pod without a plan has what
    the kubelet chose.
    """
    plan = pod.plan.get(need.name, {})
    if not plan or any(gpus.get(uuid) is None for uuid in (*given, *plan)):
        return ""
    got = gpus.models(given)
    if need.whole_gpus and not pod.takes_mig and _have_slice(given, gpus) and not _have_slice(plan, gpus):
        return f"its whole GPU is a MIG device ({', '.join(sorted(got))})"
    planned = gpus.models(plan)
    if pod.gpu_model and not got <= planned:
        other, expected = (", ".join(sorted(each)) for each in (got - planned, planned))
        return f"it is on {other} instead of {expected} ({names.model_annotation})"
    return ""


def _have_slice(uuids: Collection[GpuUuid], gpus: Gpus) -> bool:
    return any(gpus.is_slice(uuid) for uuid in uuids)
