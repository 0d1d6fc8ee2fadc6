"""Turns what the containers of a pod shall ask gpupack for into changes of its manifest, described for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from extender.kubectl.migrating import peers
from extender.kubectl.migrating.requests import Change, MigrateOptions, PeerContainer, PeerPod, Rewrite
from extender.kubectl.migrating.shares import PeerShare


@dataclass(frozen=True, slots=True)
class Wish:
    """What one container shall ask gpupack for: the name, the amount, and what it asked before."""

    container: PeerContainer
    resource: str
    amount: int
    share: PeerShare
    extra_mib: int


def lost_annotations(pod: PeerPod) -> dict[str, str]:
    """The pod's annotations that gpupack has nothing for, with what they ask for."""
    known = {**peers.ANNOTATIONS_WITHOUT_COUNTERPART, **peers.KAI_ANNOTATIONS_WITHOUT_COUNTERPART}
    return {name: meaning for name, meaning in known.items() if name in pod.annotations}


def rewrite(pod: PeerPod, options: MigrateOptions, wishes: list[Wish], gpu_count: int, models: str) -> Rewrite:
    """Everything that changes in the pod."""
    limits, requests = {}, {}
    wished = {wish.container.name: wish for wish in wishes}
    for container in pod.containers:
        wish = wished.get(container.name)
        gone = {*options.drop, *(wish.share.used if wish else ())}
        put: dict[str, str | int] = {wish.resource: wish.amount} if wish else {}
        if wish and wish.share.core_percent:
            put[options.names.core_resource] = wish.share.core_percent * wish.share.gpus
        limits[container.name] = Change(_among(container.limits, gone), put)
        asked_before = _among(container.requests, gone)
        # Requests of such resources equal the limits; where they were not written, the limit says it all.
        requests[container.name] = Change(asked_before, put if asked_before else {})
    put_annotations: dict[str, str | int] = {options.names.model_annotation: models} if models else {}
    if gpu_count > 1:
        put_annotations[options.names.count_annotation] = str(gpu_count)
    return Rewrite(
        limits,
        requests,
        Change(_annotations_gone(pod, options), put_annotations),
        Change(_among(pod.labels, {peers.GPUSHARE_COUNT})),
        _spec_change(pod, options),
        summary=tuple(_summary(pod, options, wishes, gpu_count, models)),
        notes=tuple(_notes(pod, options, wishes)),
    )


def _among(present: Mapping[str, str], names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in present if name in names)


def _annotations_gone(pod: PeerPod, options: MigrateOptions) -> tuple[str, ...]:
    hami = {peers.HAMI_USE_TYPE, peers.HAMI_NO_TYPE}
    kai = {peers.KAI_MEMORY, peers.KAI_FRACTION, peers.KAI_DEVICES, peers.KAI_CONTAINER} - options.keep
    return _among(pod.annotations, hami | kai | (options.drop & {*lost_annotations(pod)}))


def _spec_change(pod: PeerPod, options: MigrateOptions) -> Change:
    if pod.scheduler_name not in {"", "default-scheduler", *peers.SCHEDULERS}:
        return Change()
    if options.scheduler_name and options.scheduler_name != pod.scheduler_name:
        return Change(("schedulerName",) if pod.scheduler_name else (), {"schedulerName": options.scheduler_name})
    return (
        Change(("schedulerName",))
        if pod.scheduler_name in peers.SCHEDULERS and not options.scheduler_name
        else Change()
    )


def _summary(pod: PeerPod, options: MigrateOptions, wishes: list[Wish], gpu_count: int, models: str) -> Iterator[str]:
    for wish in wishes:
        text = f"container {wish.container.name}: {wish.share.words} -> {wish.resource}: {wish.amount}"
        if wish.share.memory_mib:
            each = " on each GPU" if wish.share.gpus > 1 else ""
            spread = f"{wish.share.gpus} GPUs x " if wish.share.gpus > 1 else ""
            more = f", {wish.extra_mib} MiB more{each}" if wish.extra_mib else ""
            text += f" ({spread}{wish.amount // wish.share.gpus} x {options.unit_mib} MiB{more})"
        if wish.share.core_percent:
            text += f", {options.names.core_resource}: {wish.share.core_percent * wish.share.gpus}"
        yield text
    for container in pod.containers:
        for name in _among({**container.limits, **container.requests}, set(options.drop)):
            yield f"container {container.name}: {name} removed, as --drop says"
    if gpu_count > 1:
        yield f"annotation {options.names.count_annotation}: {gpu_count}"
    if models:
        yield f"annotation {options.names.model_annotation}: {models}"
    for name in _among(pod.annotations, set(options.drop)):
        yield f"annotation {name} removed, as --drop says"
    change = _spec_change(pod, options)
    if change.put:
        yield f"schedulerName: {options.scheduler_name}" + (
            f" instead of {pod.scheduler_name}" if change.remove else ""
        )
    elif change:
        yield f"schedulerName: {pod.scheduler_name} removed; where gpupack is a second scheduler, pass --scheduler-name"


def _notes(pod: PeerPod, options: MigrateOptions, wishes: list[Wish]) -> Iterator[str]:
    if any(wish.share.model for wish in wishes):
        yield "gpupack offers MIG devices where its device plugin is started with --mig=slices"
    for label in _among(pod.labels, set(peers.KAI_QUEUES)):
        yield f"label {label} stays, but gpupack has no queues: ResourceQuota or Kueue limits what a team gets"
    if pod.scheduler_name and not _spec_change(pod, options) and pod.scheduler_name != options.scheduler_name:
        yield f"schedulerName: {pod.scheduler_name} stays; it must call gpupack's extender"
    for container in pod.containers:
        for name, text in container.variables.items():
            if name.startswith(peers.REFUSED_ENVIRONMENT) and text not in peers.NO_DEVICES:
                yield (
                    f"container {container.name}: sets {name} itself, which gpupack's admission policy refuses in pods "
                    "that ask for GPUs: remove it"
                )
        for beginning in peers.ENVIRONMENT:
            if beginning in container.mentions:
                yield (
                    f"container {container.name}: mentions {beginning}..., which gpupack does not set; "
                    "it sets GPUPACK_GPU_MEM_MIB"
                )
