"""Answers why a pod does not fit on a node: for `/v1/explain`, the page, kubectl gpupack and planning alike."""

from collections.abc import Iterable
from dataclasses import dataclass

from extender.contract.cordon import BY_HAND
from extender.contract.units import CORE_PERCENT, UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.node import GpuInfo, NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a node answers to a request: `fit` says how it would fit, `misfit` why it does not; one of them is None."""

    node: NodeInfo
    request: PodRequest
    fit: Fit | None = None
    misfit: Misfit | None = None

    def roomy(self, unit_mib: UnitMib) -> list[GpuInfo]:
        """The GPUs of the node on which a demand of the pod fits."""
        return [gpu for gpu, why in zip(self.node.gpus, self.gpu_reasons(unit_mib), strict=True) if not why]

    def gpu_reasons(self, unit_mib: UnitMib) -> list[str]:
        """For each GPU of the node why no demand of the pod fits there, with numbers; empty where one does."""
        return [_gpu_reason(gpu, self.request, unit_mib) for gpu in self.node.gpus]


def judge(node: NodeInfo, request: PodRequest, policy: Policy) -> Verdict:
    """Whether `request` fits on `node`, and if not, why."""
    answer = fit(node, request, policy)
    if isinstance(answer, Fit):
        return Verdict(node, request, fit=answer)
    return Verdict(node, request, misfit=answer)


_NEAREST = (
    Misfit.EVICTING,
    Misfit.OUTSIDE,
    Misfit.FRAGMENTED,
    Misfit.NO_CORE,
    Misfit.FULL,
    Misfit.NOT_IDLE,
    Misfit.UNHEALTHY,
    Misfit.MIG_NOT_NAMED,
    Misfit.MIG_NOT_COMBINED,
    Misfit.TOO_FEW_GPUS,
    Misfit.TOO_LARGE,
    Misfit.NO_MODEL,
    Misfit.NO_PLUGIN,
    Misfit.UNIT_MISMATCH,
    Misfit.NO_INVENTORY,
    Misfit.UNKNOWN_NODE,
)
"""How little is missing, the least first."""


def nearest(misfits: Iterable[Misfit]) -> Misfit | None:
    """Of the reasons of several nodes the one where least is missing; None of none."""
    return min(misfits, key=_NEAREST.index, default=None)


def _gpu_reason(gpu: GpuInfo, request: PodRequest, unit_mib: UnitMib) -> str:
    def gib(units: int) -> str:
        return f"{units * unit_mib / 1024:g}Gi"

    if not request.models.match(gpu.model):
        return f"model {gpu.model} is not accepted"
    if not gpu.healthy:
        if gpu.reason == BY_HAND:
            return BY_HAND
        return f"unhealthy: {gpu.reason}" if gpu.reason else "unhealthy"
    if gpu.mig is not None and not any(gpu.can_serve(request.models, demand) for demand in request.demands):
        if all(demand.gpus > 1 for demand in request.demands):
            return "a MIG device, which cannot be combined with other GPUs"
        return "a MIG device, which must be named in gpu-model to be given whole"
    smallest = min((demand.units for demand in request.demands if not demand.whole), default=0)
    least_core = min((demand.core_percent for demand in request.demands if not demand.whole), default=0)
    if smallest and gpu.free >= smallest:
        if gpu.core_free_percent >= least_core:
            return ""
        return f"gpu-core {least_core} wanted, {gpu.core_free_percent} of {CORE_PERCENT} percent free"
    if gpu.idle and any(demand.whole and gpu.can_serve(request.models, demand) for demand in request.demands):
        return ""
    outside = f", {gib(gpu.outside)} in use outside of pods' requests" if gpu.outside else ""
    return (
        f"{gib(gpu.free)} of {gib(gpu.capacity)} free{outside}; {gib(smallest) if smallest else 'a whole GPU'} needed"
    )
