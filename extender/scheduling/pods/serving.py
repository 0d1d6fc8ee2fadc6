"""Says which GPUs can serve a demand at all: those of a model that the pod accepts, MIG devices not for everything.

A process uses one MIG device at most and none beside another GPU (MIG user guide, "CUDA device enumeration"), so what
needs several GPUs gets none. Who asks for a whole GPU does not mean a seventh of one, unless `gpu-model` says MIG.
"""

from extender.scheduling.pods.models import ModelPatterns


def can_serve(models: ModelPatterns, model: str, *, is_slice: bool, whole: bool, gpus: int) -> bool:
    """Whether a GPU can be one of the `gpus` of a demand, held `whole` or shared, of a pod that accepts `models`."""
    if not is_slice:
        return models.match(model)
    if gpus > 1:
        return False
    return models.names_mig(model) if whole else models.match(model)


def may_be_given(models: ModelPatterns, *, is_slice: bool, whole: bool, gpus: int) -> bool:
    """Whether a device plugin would let a pod that came past the extender have a GPU for such a demand.

    Of `gpu-model` it knows only whether MIG is in it: the kubelet chooses, whatever the GPU's model.
    """
    return not is_slice or (gpus == 1 and (not whole or models.asks_for_mig))
