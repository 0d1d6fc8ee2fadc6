"""Reads the GPUs of a node from the labels of GPU feature discovery and from what NVIDIA's device plugin offers.

Labels: https://github.com/NVIDIA/k8s-device-plugin/blob/main/docs/gpu-feature-discovery/README.md. With the strategy
"single" for MIG, a `nvidia.com/gpu` is a MIG device, all of one profile, and its labels describe that device; with
"mixed" each profile is a resource with labels of its own. Shared in time, a device is offered several times.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from extender.contract.inventory import InventoryGpu
from extender.contract.mig import SLICES_OF_A_GPU, MigDevice, MigProfile, parse_profile
from extender.contract.quantity import parse_digits, parse_quantity
from extender.contract.units import ContractError, GpuUuid

NVIDIA_GPU = "nvidia.com/gpu"
NVIDIA_MIG = "nvidia.com/mig-"
"""What resources of MIG devices begin with; their profile follows."""

_MIG_GPUS = (
    ("*A30", 24, 4),
    ("*RTX-PRO-6000*", 96, 4),
    ("*RTX-PRO-5000*", 48, 2),
    ("*RTX-PRO-4500*", 32, 2),
    ("*GB200*", 186, SLICES_OF_A_GPU),
    ("*GH200*", 96, SLICES_OF_A_GPU),
    ("*B200*", 180, SLICES_OF_A_GPU),
    ("*H200*", 141, SLICES_OF_A_GPU),
    ("*H20", 96, SLICES_OF_A_GPU),
    ("*H100-NVL*", 94, SLICES_OF_A_GPU),
    ("*H100-PCIE*", 80, SLICES_OF_A_GPU),
)
"""GPUs with MIG of whose names the memory is no part: GB and slices, from the list in NVIDIA's MIG user guide.

Of a GH200 the name says how much memory its CPU has.
"""
_GB_IN_NAME = re.compile(r"(?<![0-9])([0-9]{2,3})GB(?![A-Z])")
_ROUNDED = 1.06
"""A profile's GB are rounded up: four of 24 GB are on a GPU of 94."""


@dataclass(frozen=True, slots=True)
class OfferedGpus:
    """What NVIDIA's device plugin gives out on a node.

    Args:
        gpus: the GPUs and MIG devices; UUIDs are made up.
        profile: of the MIG device that a `nvidia.com/gpu` is; empty where it is a GPU.
        replicas: how often each `nvidia.com/gpu` is given out.
        note: what had to be assumed, for people.
    """

    gpus: tuple[InventoryGpu, ...] = ()
    profile: str = ""
    replicas: int = 1
    note: str = ""


def is_offering(labels: Mapping[str, str], allocatable: Mapping[str, object]) -> bool:
    """Whether anything on a node says that NVIDIA's device plugin or GPU feature discovery is at work there."""
    return f"{NVIDIA_GPU}.product" in labels or any(name.startswith((NVIDIA_GPU, NVIDIA_MIG)) for name in allocatable)


def offered_gpus(
    node: str, labels: Mapping[str, str], allocatable: Mapping[str, object], *, resource: str = NVIDIA_GPU
) -> OfferedGpus:
    """The GPUs of a node, none where labels or resources do not say enough; `resource` is that of whole GPUs."""
    of_slice = (labels[f"{name}.product"].partition("-MIG-")[0] for name in allocatable if f"{name}.product" in labels)
    named = labels.get(f"{NVIDIA_GPU}.product") or next(of_slice, "")
    product, _, single = named.removesuffix("-SHARED").partition("-MIG-")
    model, memory_mib = product.replace("-", " "), _number(labels.get(f"{NVIDIA_GPU}.memory"))
    replicas = max(1, _number(labels.get(f"{NVIDIA_GPU}.replicas")))
    count = -(-_amount(allocatable, resource if resource in allocatable else NVIDIA_GPU) // replicas)
    slices: list[tuple[MigProfile, int]] = []
    if single:
        slices = _devices(single, count, memory_mib)
        count = 0
    for name in sorted(allocatable):
        if name.startswith(NVIDIA_MIG):
            times = max(1, _number(labels.get(f"{name}.replicas")))
            amount = -(-_amount(allocatable, name) // times)
            slices += _devices(name.removeprefix(NVIDIA_MIG), amount, _number(labels.get(f"{name}.memory")))
    whole = tuple(InventoryGpu(_uuid(node, at), at, model, memory_mib) for at in range(count if memory_mib else 0))
    if not slices or not model:
        return OfferedGpus(whole, replicas=replicas)
    gb, of = _size(product)
    known = 0
    if not single:
        known, gb = max(0, _number(labels.get(f"{NVIDIA_GPU}.count")) - count), memory_mib / 1024 or gb
    slices.sort(key=lambda device: -device[0].compute_slices)
    cards = _cards([profile for profile, _ in slices], gb, of, known)
    found = _on_cards(node, model, slices, [len(whole) + card for card in cards], of)
    note = ""
    if not known and not gb:
        note = f"how many MIG devices a {model} can have is not known: {len(set(cards))} GPUs were counted on {node}"
    return OfferedGpus((*whole, *found), single and slices[0][0].name, replicas, note)


def _devices(label: str, count: int, memory_mib: int) -> list[tuple[MigProfile, int]]:
    """That many MIG devices of a profile, as labels and resources write it: `1g.10gb.me` is `1g.10gb+me`."""
    profile = parse_profile(re.sub(r"(?<=gb)\.", "+", label))
    return [] if profile is None else [(profile, memory_mib or profile.memory_mib)] * count


def _cards(profiles: Sequence[MigProfile], gb: float, of: int, known: int) -> list[int]:
    """On which GPU each device is, the largest first: as few GPUs as can have them, or evenly on so many as are known.

    `gb` is the memory of one, 0 where that is unknown. One device of a GPU has its media extensions.
    """
    used: list[tuple[int, float, int]] = [(0, 0.0, 0)] * known
    found = []
    for profile in profiles:
        part = profile.compute_slices / profile.gpu_slices
        size = (profile.compute_slices, profile.memory_gb * part, int("+me" in profile.name))
        with_it = [tuple(map(sum, zip(one, size, strict=True))) for one in used]
        fitting = [
            at
            for at, (slices, memory_gb, media) in enumerate(with_it)
            if slices <= of and media <= 1 and (not gb or memory_gb <= gb * _ROUNDED)
        ]
        if not fitting and not known:
            used.append((0, 0.0, 0))
            fitting = [len(used) - 1]
        card = min(fitting or range(len(used)), key=used.__getitem__) if known else fitting[0]
        used[card] = (used[card][0] + size[0], used[card][1] + size[1], used[card][2] + size[2])
        found.append(card)
    return found


def _on_cards(
    node: str, model: str, slices: Sequence[tuple[MigProfile, int]], cards: Sequence[int], of: int
) -> list[InventoryGpu]:
    found = []
    for at, ((profile, memory_mib), card) in enumerate(sorted(zip(slices, cards, strict=True), key=lambda one: one[1])):
        device = at - sum(other < card for other in cards)
        mig = MigDevice(
            _uuid(node, card), device, device, 0, profile.name, profile.compute_slices, max(of, profile.gpu_slices)
        )
        part_mib = memory_mib * profile.compute_slices // profile.gpu_slices
        uuid = GpuUuid(f"{_uuid(node, card)}-{device}")
        found.append(InventoryGpu(uuid, card, f"{model} MIG {profile.name}", part_mib, mig=mig))
    return found


def _size(product: str) -> tuple[float, int]:
    """Memory in GB of a GPU with MIG, 0 where that is unknown, and its slices."""
    name = product.upper()
    for pattern, gb, slices in _MIG_GPUS:
        if fnmatchcase(name, pattern):
            return gb, slices
    found = _GB_IN_NAME.search(name)
    return float(found[1]) if found else 0.0, SLICES_OF_A_GPU


def _uuid(node: str, card: int) -> GpuUuid:
    return GpuUuid(f"{node[:40]}-gpu-{card}")


def _number(text: str | None) -> int:
    return parse_digits(text or "") or 0


def _amount(allocatable: Mapping[str, object], resource: str) -> int:
    try:
        return parse_quantity(str(allocatable.get(resource, 0)))
    except ContractError:
        return 0
