"""Converts what one container asks another program for to GPUs and MiB, or raises the question that is open."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from extender.contract.quantity import parse_quantity
from extender.contract.units import CORE_PERCENT, ContractError
from extender.kubectl.migrating import peers
from extender.kubectl.migrating.requests import GIB_MIB, MigrateOptions, PeerContainer, PeerPod

_PROFILE = re.compile(r"(?P<size>[1-9]g\.[1-9][0-9]{0,3}gb)(?P<media>\.me)?")
"""Of a GPU instance with one compute instance; NVIDIA's device plugin writes `+me` as `.me`."""

LARGEST_GPU_GIB = 1024
"""More than any GPU has: so many GiB of gpushare's memory are surely MiB."""


@dataclass(frozen=True, slots=True)
class PeerShare:
    """Memory of each of `gpus` GPUs in MiB, 0 for whole GPUs, and percent of each one's compute, 0 for no request.

    `used` are the names that ask for it, `words` describes it for people; `model` is the pattern of the only GPU models
    that it may be of, empty for any.
    """

    gpus: int
    memory_mib: int
    used: tuple[str, ...]
    words: str
    core_percent: int = 0
    model: str = ""


class Question(Exception):  # noqa: N818 (not an error: a person has to decide)
    """What cannot be decided without a person; the message says what would decide it."""


def number(name: str, text: str) -> int:
    """A quantity as a whole number of at least 1.

    Raises:
        Question: it is none.
    """
    try:
        value = parse_quantity(text)
    except ContractError as error:
        raise Question(f"{name}: {error}") from error
    if value < 1:
        raise Question(f"{name} is {text}, expected at least 1")
    return value


def container_share(container: PeerContainer, pod: PeerPod, options: MigrateOptions) -> PeerShare | None:
    """What the container's resources ask for; None when they ask these programs for nothing.

    Raises:
        Question: it depends on something that the manifest does not say.
    """
    asked = {name: text for name in peers.RESOURCES if (text := container.asks(name)) is not None}
    asked = {name: text for name, text in asked.items() if text != "0" and name not in options.drop}
    mig = _mig_asked(container, options)
    if mig:
        return _mig(mig, set(asked) - options.keep)
    if {*options.keep, options.names.gpu_resource}.issuperset(asked):
        return None
    programs = {_program(name) for name in asked if name not in peers.RESOURCES_WITHOUT_COUNTERPART}
    if not programs:
        return None
    if len(programs) > 1:
        raise Question(f"asks with names of several programs ({', '.join(sorted(asked))}): leave those of one")
    if "gpushare" in programs:
        return _gpushare(asked, pod, options)
    if peers.HAMI_MEMORY in asked or peers.HAMI_PERCENTAGE in asked:
        return _hami(asked, options)
    return _nvidia(asked, options)


def _mig_asked(container: PeerContainer, options: MigrateOptions) -> dict[str, str]:
    """The MIG devices that the container asks for, without what is kept or dropped."""
    asked = {**container.requests, **container.limits}
    left = options.keep | options.drop
    return {
        name: text
        for name, text in asked.items()
        if name.startswith(peers.MIG_PREFIX) and text != "0" and name not in left
    }


def _mig(asked: Mapping[str, str], others: set[str]) -> PeerShare:
    keep = " ".join(f"--keep {name}" for name in asked)
    if others or len(asked) > 1:
        raise Question(
            f"asks for {', '.join(sorted({*asked, *others}))}: a program can use one MIG device and nothing beside it; "
            f"to leave it to NVIDIA's device plugin, pass {keep}"
        )
    ((name, text),) = asked.items()
    profile = _PROFILE.fullmatch(name.removeprefix(peers.MIG_PREFIX))
    if profile is None:
        raise Question(f"{name} is no whole GPU instance: to leave it to NVIDIA's device plugin, pass {keep}")
    if number(name, text) > 1:
        raise Question(
            f"{name}: {text}: a program can use one MIG device only; to leave it to NVIDIA's device plugin, pass {keep}"
        )
    media = "+me" if profile["media"] else ""
    return PeerShare(1, 0, (name,), f"{name}: {text}", model=f"*MIG-{profile['size']}{media}")


def _program(name: str) -> str:
    if name.startswith("aliyun.com/"):
        return "gpushare"
    return "NVIDIA, shared" if name == peers.NVIDIA_SHARED else "NVIDIA or HAMi"


def _gpushare(asked: Mapping[str, str], pod: PeerPod, options: MigrateOptions) -> PeerShare:
    if peers.GPUSHARE_MEMORY not in asked:
        raise Question(f"{', '.join(asked)} without {peers.GPUSHARE_MEMORY}: say how much memory it means")
    if asked.get(peers.GPUSHARE_COUNT, "1") != "1":
        raise Question(
            f"{peers.GPUSHARE_COUNT} as a resource of a container is not documented; as a label of the pod it is: "
            "remove it here, or set the label"
        )
    amount = number(peers.GPUSHARE_MEMORY, asked[peers.GPUSHARE_MEMORY])
    if options.gpushare_unit_mib == GIB_MIB and amount > LARGEST_GPU_GIB:
        raise Question(
            f"{peers.GPUSHARE_MEMORY} of {amount} GiB is more than any GPU has: if it is MiB, pass --gpushare-unit MiB"
        )
    gpus = number(peers.GPUSHARE_COUNT, pod.labels.get(peers.GPUSHARE_COUNT, "1"))
    if amount % gpus:
        raise Question(f"{peers.GPUSHARE_MEMORY} {amount} is not divisible by the label {peers.GPUSHARE_COUNT} {gpus}")
    unit = "GiB" if options.gpushare_unit_mib == GIB_MIB else "MiB"
    words = f"{peers.GPUSHARE_MEMORY}: {amount} ({unit})"
    core = _core(asked, peers.GPUSHARE_CORE)
    if core and gpus > 1:
        raise Question(
            f"{peers.GPUSHARE_CORE} of a pod on {gpus} GPUs is not documented: to do without it, pass --drop"
        )
    return PeerShare(gpus, amount // gpus * options.gpushare_unit_mib, tuple(asked), words + _core_words(core), core)


def _hami(asked: Mapping[str, str], options: MigrateOptions) -> PeerShare:
    gpus = number(peers.NVIDIA_GPU, asked.get(peers.NVIDIA_GPU, "1"))
    used = tuple(name for name in asked if name not in peers.RESOURCES_WITHOUT_COUNTERPART)
    words = ", ".join(f"{name}: {asked[name]}" for name in used)
    core = _hami_core(asked)
    if peers.HAMI_MEMORY in asked and peers.HAMI_PERCENTAGE in asked:
        raise Question(f"{peers.HAMI_MEMORY} and {peers.HAMI_PERCENTAGE} in one container: leave one of them")
    if peers.HAMI_MEMORY in asked:
        memory_mib = number(peers.HAMI_MEMORY, asked[peers.HAMI_MEMORY])
    else:
        percent = number(peers.HAMI_PERCENTAGE, asked[peers.HAMI_PERCENTAGE])
        memory_mib = _part(f"{peers.HAMI_PERCENTAGE}: {percent}", Fraction(percent, 100), options)
    return PeerShare(gpus, memory_mib, used, words, core)


def _nvidia(asked: Mapping[str, str], options: MigrateOptions) -> PeerShare:
    name = peers.NVIDIA_SHARED if peers.NVIDIA_SHARED in asked else peers.NVIDIA_GPU
    core = _hami_core(asked)
    if name not in asked or (core and options.whole_gpus):
        raise Question(f"{peers.HAMI_CORE} without {peers.HAMI_MEMORY}: say how much memory it means")
    amount = number(name, asked[name])
    words = f"{name}: {amount}"
    if name == peers.NVIDIA_GPU and options.whole_gpus:
        return PeerShare(amount, 0, (name,), words)
    if options.replica_memory_mib is None:
        if name == peers.NVIDIA_SHARED:
            raise Question(f"{words} does not say how much memory it means: pass --replica-memory-mib")
        raise Question(
            f"{words} does not say how much memory it means: for a GPU that is not shared pass --whole-gpus, for one "
            f"replica of a shared GPU --replica-memory-mib, to leave it to NVIDIA's device plugin --keep {name}"
        )
    if amount > 1:
        raise Question(f"{words}: several replicas may be of one GPU or of several; ask for the memory that is meant")
    used = (name, peers.HAMI_CORE) if core else (name,)
    words = f"{words} (a replica of {options.replica_memory_mib} MiB)" + (
        f", {peers.HAMI_CORE}: {core}" if core else ""
    )
    return PeerShare(1, options.replica_memory_mib, used, words, core)


def _hami_core(asked: Mapping[str, str]) -> int:
    core = _core(asked, peers.HAMI_CORE)
    if core == CORE_PERCENT:
        raise Question(
            f"{peers.HAMI_CORE}: {core} also means that no other pod gets the GPU: ask for whole GPUs, or "
            f"pass --drop {peers.HAMI_CORE}"
        )
    return core


def _core(asked: Mapping[str, str], name: str) -> int:
    core = number(name, asked[name]) if name in asked else 0
    if core > CORE_PERCENT:
        raise Question(f"{name} is {core}, expected at most {CORE_PERCENT} percent of a GPU")
    return core


def _core_words(core: int) -> str:
    return f", {peers.GPUSHARE_CORE}: {core}" if core else ""


def kai_share(pod: PeerPod, options: MigrateOptions) -> tuple[str, PeerShare] | None:
    """The container that KAI's annotations are for, and what they ask for; None without them.

    Raises:
        Question: it depends on something that the manifest does not say.
    """
    asked = {
        name: pod.annotations[name]
        for name in (peers.KAI_MEMORY, peers.KAI_FRACTION, peers.KAI_DEVICES, peers.KAI_CONTAINER)
        if name in pod.annotations and name not in options.keep
    }
    if not asked:
        return None
    queued = any(label in pod.labels for label in peers.KAI_QUEUES)
    if not (options.kai or queued or pod.scheduler_name in peers.KAI_SCHEDULERS):
        raise Question(
            f"the annotations {', '.join(asked)} may be KAI's, but neither a queue nor the scheduler says so: "
            "if they are, pass --kai, otherwise --keep them"
        )
    if (peers.KAI_MEMORY in asked) == (peers.KAI_FRACTION in asked):
        raise Question(f"expected one of the annotations {peers.KAI_MEMORY} and {peers.KAI_FRACTION}")
    gpus = number(peers.KAI_DEVICES, asked.get(peers.KAI_DEVICES, "1"))
    if peers.KAI_MEMORY in asked:
        memory_mib = number(peers.KAI_MEMORY, asked[peers.KAI_MEMORY])
    else:
        memory_mib = _part(f"{peers.KAI_FRACTION}: {asked[peers.KAI_FRACTION]}", _fraction(asked), options)
    words = ", ".join(f"{name}: {text}" for name, text in asked.items() if name != peers.KAI_CONTAINER)
    apps = [container.name for container in pod.containers if not container.init]
    chosen = asked.get(peers.KAI_CONTAINER, apps[0] if apps else "")
    if chosen not in [container.name for container in pod.containers]:
        raise Question(f"{peers.KAI_CONTAINER} is {chosen}, which is no container of the pod")
    return chosen, PeerShare(gpus, memory_mib, tuple(asked), words)


def _fraction(asked: Mapping[str, str]) -> Fraction:
    text = asked[peers.KAI_FRACTION]
    try:
        value = Fraction(text) if len(text) < 32 and "/" not in text and "e" not in text.lower() else Fraction(-1)
    except ValueError:
        value = Fraction(-1)
    if not 0 < value <= 1:
        raise Question(f"{peers.KAI_FRACTION} is {text!r}, expected a fraction such as 0.5")
    return value


def _part(words: str, part: Fraction, options: MigrateOptions) -> int:
    if options.gpu_memory_mib is None:
        raise Question(
            f"{words} is a part of a GPU of unknown memory: pass --gpu-memory-mib, "
            "and migrate pods for GPUs of other sizes separately"
        )
    return ceil(options.gpu_memory_mib * part)
