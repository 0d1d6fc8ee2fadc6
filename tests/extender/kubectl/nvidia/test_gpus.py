"""Labels and resources of NVIDIA's device plugin are read as physical GPUs, whatever each is split into."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.mig import card_of
from extender.kubectl.nvidia.gpus import NVIDIA_GPU, OfferedGpus, is_offering, offered_gpus

A100 = "NVIDIA-A100-SXM4-80GB"


def single(product: str, offered: int, **labels: str) -> OfferedGpus:
    """What a node offers whose labels describe a `nvidia.com/gpu`."""
    said = {f"{NVIDIA_GPU}.{key}": text for key, text in ({"product": product, "memory": "9728"} | labels).items()}
    return offered_gpus("n", said, {"cpu": "8", NVIDIA_GPU: str(offered)})


def mixed(product: str, gpus: int, memory_mib: int, plain: int = 0, **devices: int) -> OfferedGpus:
    """A node of so many GPUs, of which `plain` are not split, and of MIG devices by profile: `_1g_10gb=7`."""
    labels = {"product": product, "memory": str(memory_mib), "count": str(gpus)}
    offered = {f"nvidia.com/mig-{name[1:].replace('_', '.')}": str(count) for name, count in devices.items()}
    said = {f"{NVIDIA_GPU}.{key}": text for key, text in labels.items()}
    return offered_gpus("n", said, {NVIDIA_GPU: str(plain), **offered})


def per_card(found: OfferedGpus) -> list[int]:
    """GPUs or MIG devices on each physical GPU."""
    return list(Counter(card_of(gpu.uuid, gpu.mig) for gpu in found.gpus).values())


@pytest.mark.parametrize(
    ("product", "profile", "most"),
    [
        ("NVIDIA-A100-SXM4-40GB", "1g.5gb", 7),
        ("NVIDIA-A100-SXM4-40GB", "1g.10gb", 4),
        (A100, "1g.10gb", 7),
        (A100, "1g.20gb", 4),
        (A100, "2g.20gb", 3),
        (A100, "3g.40gb", 2),
        (A100, "4g.40gb", 1),
        (A100, "7g.80gb", 1),
        (A100, "1g.10gb.me", 1),
        (A100, "1c.3g.40gb", 6),
        ("NVIDIA-H100-80GB-HBM3", "1g.20gb", 4),
        ("NVIDIA-H100-PCIe", "1g.20gb", 4),
        ("NVIDIA-H100-NVL", "1g.24gb", 4),
        ("NVIDIA-H100-NVL", "3g.47gb", 2),
        ("NVIDIA-GH200-480GB", "1g.24gb", 4),
        ("NVIDIA-H200", "1g.18gb", 7),
        ("NVIDIA-H200", "1g.35gb", 4),
        ("NVIDIA-B200", "1g.45gb", 4),
        ("NVIDIA-A30", "1g.6gb", 4),
        ("NVIDIA-A30", "2g.12gb", 2),
        ("NVIDIA-A30", "4g.24gb", 1),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "1g.24gb", 4),
    ],
)
def test_as_many_mig_devices_of_one_profile_are_one_gpu_as_it_can_have(product: str, profile: str, most: int) -> None:
    """By NVIDIA's tables: memory limits it as slices do; the node's labels only say how many devices there are."""
    found = single(f"{product}-MIG-{profile}", 3 * most)
    assert per_card(found) == [most] * 3
    assert (found.note, found.profile.replace("+", ".")) == ("", profile)
    assert [gpu.place for gpu in found.gpus[:most]] == [f"0:{device}" for device in range(most)]
    assert sum(gpu.mig.share for gpu in found.gpus if gpu.mig) <= 3


def test_a_mig_device_of_a_gpu_with_four_slices_is_its_quarter() -> None:
    """An A30 has no sevenths."""
    found = single("NVIDIA-A30-MIG-2g.12gb", 2, memory="11936")
    assert [(gpu.model, gpu.memory_mib, gpu.mig and gpu.mig.share) for gpu in found.gpus] == [
        ("NVIDIA A30 MIG 2g.12gb", 11936, 0.5)
    ] * 2


def test_a_gpu_of_unknown_memory_is_said() -> None:
    """Its slices alone say how many MIG devices it can have."""
    found = single("NVIDIA-X900-MIG-1g.30gb", 14)
    assert per_card(found) == [7, 7]
    assert found.note.startswith("how many MIG devices a NVIDIA X900 can have is not known: 2 GPUs were counted on n")


def test_mig_devices_that_are_resources_of_their_own() -> None:
    """The labels say how many GPUs there are; those that are not split are offered as such."""
    assert per_card(mixed(A100, 8, 81920, _1g_10gb=56)) == [7] * 8
    found = mixed(A100, 4, 81920, 2, _3g_40gb=2, _1g_10gb=6)
    assert [(gpu.place, gpu.model.partition(" MIG ")[2]) for gpu in found.gpus] == [
        ("0", ""),
        ("1", ""),
        *((f"{card}:{at}", "1g.10gb" if at else "3g.40gb") for card in (2, 3) for at in range(4)),
    ]
    assert (found.gpus[0].memory_mib, found.gpus[2].memory_mib, found.profile) == (81920, 40448, "")
    assert per_card(mixed("NVIDIA-A30", 2, 24576, _2g_12gb=4)) == [2, 2]


def test_without_a_count_of_gpus_there_are_as_few_as_can_be() -> None:
    """As the first label of older versions is about the MIG devices."""
    label = {"nvidia.com/mig-1g.10gb.product": f"{A100}-MIG-1g.10gb", "nvidia.com/mig-1g.10gb.memory": "9728"}
    found = offered_gpus("n", label, {"nvidia.com/mig-1g.10gb": "14"})
    assert (per_card(found), found.gpus[0].memory_mib, found.gpus[0].model) == (
        [7, 7],
        9728,
        "NVIDIA A100 SXM4 80GB MIG 1g.10gb",
    )


def test_a_gpu_that_is_shared_in_time_is_one() -> None:
    """However often it is offered; split or not."""
    found = single(f"{A100}-SHARED", 8, memory="81920", replicas="4", count="2")
    assert (per_card(found), found.replicas, found.gpus[0].model) == ([1, 1], 4, "NVIDIA A100 SXM4 80GB")
    split = single(f"{A100}-MIG-3g.40gb-SHARED", 8, replicas="2", count="4")
    assert (per_card(split), split.replicas, split.profile) == ([2, 2], 2, "3g.40gb")
    other = {"nvidia.com/gpu.product": A100, "nvidia.com/gpu.memory": "81920", "nvidia.com/mig-3g.40gb.replicas": "3"}
    assert per_card(offered_gpus("n", other, {"nvidia.com/mig-3g.40gb": "6"})) == [2]


@pytest.mark.parametrize(
    ("labels", "allocatable", "offering"),
    [
        ({}, {"cpu": "8"}, False),
        ({}, {NVIDIA_GPU: "2"}, True),
        ({"product": A100, "memory": "81920"}, {NVIDIA_GPU: "0"}, True),
        ({"product": A100, "memory": "nine"}, {NVIDIA_GPU: "2"}, True),
        ({"product": A100, "memory": "81920"}, {NVIDIA_GPU: "two"}, True),
        ({"product": f"{A100}-MIG-INVALID", "memory": "0", "count": "0"}, {NVIDIA_GPU: "0"}, True),
        ({}, {"nvidia.com/mig-1g.10gb": "7"}, True),
    ],
)
def test_what_names_no_gpu(labels: dict[str, str], allocatable: dict[str, str], *, offering: bool) -> None:
    """Nothing is guessed; whether NVIDIA's device plugin was at work is told apart."""
    said = {f"{NVIDIA_GPU}.{key}": text for key, text in labels.items()}
    assert (offered_gpus("n", said, allocatable).gpus, is_offering(said, allocatable)) == ((), offering)


@given(
    st.integers(0, 8),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(["_1g_10gb", "_1g_20gb", "_2g_20gb", "_3g_40gb"]), st.integers(0, 9)),
)
def test_every_device_is_on_one_gpu_and_there_are_no_more_gpus_than_are_known(
    gpus: int, plain: int, devices: dict[str, int]
) -> None:
    """Whatever the labels say: as many are found as are offered, each under a UUID of its own."""
    found = mixed(A100, gpus, 81920, plain, **devices)
    assert len({gpu.uuid for gpu in found.gpus}) == len(found.gpus) == plain + sum(devices.values())
    split = {card_of(gpu.uuid, gpu.mig) for gpu in found.gpus if gpu.mig is not None}
    if gpus > plain:
        assert len(split) <= gpus - plain
    assert len({gpu.place for gpu in found.gpus}) == len(found.gpus)
