"""Decides what to change in a pod that asks other programs for GPUs, or which questions are open.

A pod is rewritten as a whole or not at all: one that asks half of its memory from each scheduler would never start.
"""

from collections.abc import Iterator

from extender.contract.containers import ContainerKind
from extender.contract.units import UnitMib
from extender.kubectl.migrating import peers
from extender.kubectl.migrating.requests import MigrateOptions, PeerContainer, PeerPod, Rewrite, Undecided
from extender.kubectl.migrating.rewriting import Wish, lost_annotations, rewrite
from extender.kubectl.migrating.shares import PeerShare, Question, container_share, kai_share
from extender.scheduling.pods.models import RequestError, parse_models
from extender.scheduling.pods.request import ContainerRequest, pod_request

PATTERN_CHARACTERS = frozenset("*?[]!")


def decide(pod: PeerPod, options: MigrateOptions) -> Rewrite | Undecided | None:
    """What to change in `pod`; None when it asks none of the other programs for anything."""
    questions: list[str] = []
    wishes = list(_wishes(pod, options, questions))
    if not wishes and not questions:
        return None
    questions += _without_counterpart(pod, options)
    questions += _already(pod, options)
    gpus = {wish.share.gpus for wish in wishes if wish.share.memory_mib}
    if len(gpus) > 1:
        questions.append(
            f"containers share {' and '.join(map(str, sorted(gpus)))} GPUs; in gpupack a pod has one count"
        )
    models, model_questions = _models(pod, options)
    questions += model_questions
    devices = {wish.share.model for wish in wishes}
    if any(devices) and (len(devices) > 1 or models):
        questions.append("a pod has one gpu-model for all of its containers, so MIG devices of one profile or none")
    models = models or "".join(devices)
    if not questions:
        questions += _refusals(wishes, max(gpus, default=1))
    if questions:
        return Undecided(tuple(questions))
    return rewrite(pod, options, wishes, max(gpus, default=1), models)


def units_of(memory_mib: int, unit_mib: UnitMib) -> int:
    """Units that hold `memory_mib`: rounded up, since less could be too little for the program."""
    return -(-memory_mib // unit_mib)


def _wishes(pod: PeerPod, options: MigrateOptions, questions: list[str]) -> Iterator[Wish]:
    kai: tuple[str, PeerShare] | None = None
    try:
        kai = kai_share(pod, options)
    except Question as question:
        questions.append(str(question))
    for container in pod.containers:
        try:
            share = container_share(container, pod, options)
        except Question as question:
            questions.append(f"container {container.name}: {question}")
            continue
        if kai and kai[0] == container.name:
            if share:
                questions.append(
                    f"container {container.name}: asks for {share.words} and, as an annotation, {kai[1].words}"
                )
            share = kai[1]
        if share:
            yield _wish(container, share, options)


def _wish(container: PeerContainer, share: PeerShare, options: MigrateOptions) -> Wish:
    if not share.memory_mib:
        return Wish(container, options.names.gpu_resource, share.gpus, share, 0)
    units = units_of(share.memory_mib, options.unit_mib)
    extra_mib = units * options.unit_mib - share.memory_mib
    return Wish(container, options.names.memory_resource, units * share.gpus, share, extra_mib)


def _without_counterpart(pod: PeerPod, options: MigrateOptions) -> Iterator[str]:
    allowed = options.keep | options.drop
    for container in pod.containers:
        for name, meaning in peers.RESOURCES_WITHOUT_COUNTERPART.items():
            if container.asks(name) is not None and name not in allowed:
                yield f"container {container.name}: {name} asks for {meaning}: to do without it, pass --drop {name}"
    for name, meaning in lost_annotations(pod).items():
        if name not in allowed:
            yield f"annotation {name} asks for {meaning}: to do without it, pass --drop {name}"


def _already(pod: PeerPod, options: MigrateOptions) -> Iterator[str]:
    ours = {options.names.memory_resource, options.names.core_resource, f"{options.names.prefix}/gpu"}
    for container in pod.containers:
        for name in ours & {*container.limits, *container.requests}:
            yield f"container {container.name}: asks for {name} already: leave one of the two"
    for name in (options.names.count_annotation, options.names.model_annotation):
        if name in pod.annotations:
            yield f"annotation {name} is there already: leave one of the two"


def _models(pod: PeerPod, options: MigrateOptions) -> tuple[str, list[str]]:
    """The `gpu-model` annotation for HAMi's types, which accept each model that contains the text, in any case."""
    patterns: list[str] = []
    for name, mark in ((peers.HAMI_USE_TYPE, ""), (peers.HAMI_NO_TYPE, "!")):
        for part in filter(None, (piece.strip() for piece in pod.annotations.get(name, "").split(","))):
            if PATTERN_CHARACTERS.intersection(part):
                return "", [
                    f"annotation {name}: {part!r} has characters that are patterns in {options.names.model_annotation}"
                ]
            patterns.append(f"{mark}*{part}*")
    text = ",".join(patterns)
    if text:
        try:
            parse_models(text)
        except RequestError as error:
            return "", [str(error)]
    return text, []


def _refusals(wishes: list[Wish], gpu_count: int) -> Iterator[str]:
    """What gpupack itself would refuse: the same check that a pod gets when it is scheduled."""
    containers = tuple(
        ContainerRequest(
            wish.container.name,
            _kind(wish.container),
            memory_units=wish.amount if wish.share.memory_mib else 0,
            gpus=0 if wish.share.memory_mib else wish.amount,
            core_percent=wish.share.core_percent * wish.share.gpus,
        )
        for wish in _within_bounds(wishes)
    )
    if len(containers) < len(wishes):
        yield "asks for more than any machine has"
        return
    try:
        pod_request(containers, gpu_count=gpu_count)
    except RequestError as error:
        yield f"gpupack would refuse the pod: {error}"


def _within_bounds(wishes: list[Wish]) -> list[Wish]:
    return [wish for wish in wishes if wish.amount <= 1 << 20]


def _kind(container: PeerContainer) -> ContainerKind:
    if not container.init:
        return ContainerKind.APP
    return ContainerKind.SIDECAR if container.sidecar else ContainerKind.INIT
