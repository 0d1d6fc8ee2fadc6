"""Allocate is a function of the device IDs: they name the GPUs and the units, and everything else follows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.kubelet.deciding.allocating import Given, Refusal, RefusalKind, allocate, units_by_gpu
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.settings import DeviceListStrategy, Resource
from extender.contract.units import GpuUuid, Units
from tests.device_plugin.builders import UNIT_MIB, all_ids, core_ids, gpus, ids, sample, sliced

NOBODY = Occupied()


def given_of(answer: Given | Refusal) -> Given:
    """The answer, which must be a success."""
    assert isinstance(answer, Given), answer
    return answer


def refusal_of(answer: Given | Refusal) -> Refusal:
    """The answer, which must be a refusal."""
    assert isinstance(answer, Refusal), answer
    return answer


def test_a_share_of_one_gpu() -> None:
    """All that a container learns of its eight units of sixteen."""
    answer = given_of(allocate(Resource.MEMORY, ids("a", range(8)), gpus(a=16), occupied=NOBODY, spreads=()))
    assert answer == Given(
        {GpuUuid("GPU-a"): Units(8)},
        {
            "NVIDIA_VISIBLE_DEVICES": "GPU-a",
            "GPUPACK_GPU_UUIDS": "GPU-a",
            "GPUPACK_GPU_MEM_MIB": "8192",
            "GPUPACK_GPU_MEM_MIB_PER_GPU": "8192",
            "GPUPACK_ENFORCEMENT": "advisory",
            "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.500",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        },
    )


def test_compute_is_a_number_and_no_device() -> None:
    """The container's memory names the GPU; a second list of devices would contradict it or say it twice."""
    answer = given_of(allocate(Resource.CORE, core_ids("a", range(30)), gpus(a=16), occupied=NOBODY, spreads=()))
    assert answer == Given(
        {GpuUuid("GPU-a"): Units(30)}, {"GPUPACK_GPU_CORE_PERCENT": "30", "GPUPACK_GPU_CORE_ENFORCEMENT": "none"}
    )


@pytest.mark.parametrize(
    ("asked", "spreads", "percent"),
    [
        (core_ids("a", range(30)) | core_ids("b", range(30)), {2}, "30"),
        (core_ids("a", range(30)) | core_ids("b", range(20)), {1}, "50"),
        (core_ids("a", range(100)) | core_ids("b", range(100)), {2}, "100"),
        (core_ids("a", range(16)) | core_ids("b", range(15)), {2}, "16"),
        (core_ids("a", range(70)) | core_ids("b", range(70)), {1}, "100"),
    ],
)
def test_compute_is_told_per_gpu_of_the_container(asked: frozenset[str], spreads: set[int], percent: str) -> None:
    """Where its devices are scattered, that is the kubelet's account; the container has one GPU all the same."""
    occupied = Occupied(whole=frozenset({GpuUuid("GPU-b")}))
    answer = given_of(allocate(Resource.CORE, asked, gpus(a=16, b=16), occupied=occupied, spreads=spreads))
    assert answer.envs["GPUPACK_GPU_CORE_PERCENT"] == percent


def test_a_whole_gpu_smaller_than_a_unit_counts_as_one() -> None:
    """An allocation of no unit would be none at all."""
    tiny = Gpus(UNIT_MIB, (replace(sample(), memory_mib=512),))
    assert units_by_gpu(Resource.WHOLE, ["GPU-a"], tiny) == {"GPU-a": 1}


def test_several_gpus_are_listed_in_nvmls_order_with_the_memory_on_each() -> None:
    """The total and, beside it, one number per GPU in the order of the UUIDs."""
    mixed = ids("b", range(4)) | ids("a", range(2))
    envs = given_of(allocate(Resource.MEMORY, mixed, gpus(b=16, a=80), occupied=NOBODY, spreads={2})).envs
    assert [
        envs["NVIDIA_VISIBLE_DEVICES"],
        envs["GPUPACK_GPU_MEM_MIB"],
        envs["GPUPACK_GPU_MEM_MIB_PER_GPU"],
        envs["XLA_PYTHON_CLIENT_MEM_FRACTION"],
    ] == ["GPU-b,GPU-a", "6144", "4096,2048", "0.025"]


def test_the_fraction_is_rounded_down() -> None:
    """Three units of an A10's 23,028 MiB are 0.1334 of it; 0.134 would be more than was given."""
    node = Gpus(UNIT_MIB, (GpuSample(GpuUuid("GPU-a"), 0, "NVIDIA A10", 23028),))
    envs = given_of(allocate(Resource.MEMORY, ids("a", range(3)), node, occupied=NOBODY, spreads=())).envs
    assert envs["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.133"


def test_a_whole_gpu_gets_all_its_memory_and_no_hints() -> None:
    """Nothing limits the one container of a GPU."""
    node = Gpus(UNIT_MIB, (GpuSample(GpuUuid("GPU-a"), 0, "Tesla T4", 15360 + 512),))
    assert given_of(allocate(Resource.WHOLE, {"GPU-a"}, node, occupied=NOBODY, spreads=())) == Given(
        {GpuUuid("GPU-a"): Units(15)},
        {
            "NVIDIA_VISIBLE_DEVICES": "GPU-a",
            "GPUPACK_GPU_UUIDS": "GPU-a",
            "GPUPACK_GPU_MEM_MIB": "15872",
            "GPUPACK_GPU_MEM_MIB_PER_GPU": "15872",
        },
    )


def test_cdi_names_the_devices_and_turns_the_nvidia_runtime_off() -> None:
    """An image that asks for all GPUs must not get them."""
    answer = given_of(
        allocate(
            Resource.MEMORY,
            ids("a", range(8)),
            gpus(a=16),
            occupied=NOBODY,
            spreads=(),
            strategy=DeviceListStrategy.CDI_CRI,
        )
    )
    assert (answer.cdi_devices, answer.envs["NVIDIA_VISIBLE_DEVICES"], answer.envs["GPUPACK_GPU_UUIDS"]) == (
        ("nvidia.com/gpu=GPU-a",),
        "void",
        "GPU-a",
    )


@pytest.mark.parametrize(
    ("resource", "asked", "kind", "words"),
    [
        (Resource.MEMORY, (), RefusalKind.UNKNOWN_DEVICE, "0 device IDs, expected at least one"),
        (Resource.MEMORY, ("GPU-a-0", "GPU-a-0"), RefusalKind.UNKNOWN_DEVICE, "each once"),
        (Resource.MEMORY, ("nvidia0",), RefusalKind.UNKNOWN_DEVICE, "'nvidia0': expected <GPU uuid>-<n>"),
        (Resource.MEMORY, ("GPU-z-0",), RefusalKind.UNKNOWN_DEVICE, "this node has no GPU GPU-z"),
        (Resource.MEMORY, ("GPU-a-16",), RefusalKind.UNKNOWN_DEVICE, "GPU GPU-a has only 16 x 1024 MiB"),
        (Resource.CORE, ("GPU-a-c100",), RefusalKind.UNKNOWN_DEVICE, "GPU GPU-a has only 100 percent of compute"),
        (Resource.CORE, ("GPU-a-0",), RefusalKind.UNKNOWN_DEVICE, "'GPU-a-0': expected <GPU uuid>-c<n>"),
        (Resource.CORE, ("GPU-sick-c0",), RefusalKind.UNHEALTHY, "GPU GPU-sick is unhealthy: XID 79"),
        (Resource.WHOLE, ("GPU-z",), RefusalKind.UNKNOWN_DEVICE, "this node has no GPU GPU-z"),
        (Resource.MEMORY, ("GPU-sick-0",), RefusalKind.UNHEALTHY, "GPU GPU-sick is unhealthy: XID 79"),
        (Resource.WHOLE, ("GPU-sick",), RefusalKind.UNHEALTHY, "GPU GPU-sick is unhealthy: XID 79"),
        (Resource.MEMORY, ("GPU-w-0",), RefusalKind.OCCUPIED, "GPU GPU-w is given to one container as a whole"),
        (Resource.WHOLE, ("GPU-s",), RefusalKind.OCCUPIED, "GPU GPU-s is shared by containers"),
        (
            Resource.MEMORY,
            ("GPU-a-0", "GPU-b-0", "GPU-b-1"),
            RefusalKind.SPREAD,
            "3 x 1024 MiB are free only spread over 2 GPUs (1 on GPU-a, 2 on GPU-b), expected 1 for this container",
        ),
    ],
)
def test_lesson_03_a_failed_allocate_is_an_error_never_a_poison_value(
    resource: Resource, asked: tuple[str, ...], kind: RefusalKind, words: str
) -> None:
    """Each refusal names what is wrong; nothing of an answer comes with it."""
    sick = sample("GPU-sick", healthy=False, reason="XID 79")
    node = Gpus(UNIT_MIB, (*gpus(a=16, b=16, w=16, s=16).samples, sick))
    occupied = Occupied(whole=frozenset({GpuUuid("GPU-w")}), shared=frozenset({GpuUuid("GPU-s")}))
    refusal = refusal_of(allocate(resource, asked, node, occupied=occupied, spreads=()))
    assert (refusal.kind, words in refusal.reason) == (kind, True), refusal


def test_a_spread_is_accepted_only_over_the_planned_number_of_gpus() -> None:
    """Two planned, three or one given: the program in the container would see a GPU too many, or miss one."""
    three = ids("a", [0]) | ids("b", [0]) | ids("c", [0])
    refusal = refusal_of(allocate(Resource.MEMORY, three, gpus(a=4, b=4, c=4), occupied=NOBODY, spreads={2}))
    assert "spread over 3 GPUs (1 on GPU-a, 1 on GPU-b, 1 on GPU-c), expected 2 for this container" in refusal.reason
    refusal = refusal_of(allocate(Resource.MEMORY, ids("a", range(2)), gpus(a=4), occupied=NOBODY, spreads={2}))
    assert "2 x 1024 MiB are free only on one GPU (2 on GPU-a), expected 2 for this container" in refusal.reason


NODE = gpus(a=8, b=16, c=24)


@given(st.sets(st.sampled_from(sorted(all_ids(NODE))), min_size=1))
def test_no_unit_is_lost_or_invented(asked: set[str]) -> None:
    """The units on the GPUs add up to the number of IDs, and the MiB to the units."""
    answer = given_of(allocate(Resource.MEMORY, asked, NODE, occupied=NOBODY, spreads={1, 2, 3}))
    assert (sum(answer.gpus.values()), answer.envs["GPUPACK_GPU_MEM_MIB"]) == (len(asked), str(len(asked) * UNIT_MIB))


@given(st.permutations(sorted(ids("a", range(8)) | ids("b", range(3)))))
def test_the_order_of_the_ids_does_not_matter(asked: list[str]) -> None:
    """The kubelet sends them as a set."""
    units = units_by_gpu(Resource.MEMORY, asked, NODE)
    assert list(units.items()) == [(GpuUuid("GPU-a"), 8), (GpuUuid("GPU-b"), 3)]


@pytest.mark.parametrize("takes_mig", [False, True])
def test_mig_devices_are_given_alone(takes_mig: bool) -> None:  # noqa: FBT001 (both)
    """A CUDA program would use one of them and leave the rest."""
    node = sliced("b", "c", a=16, b=9, c=9)
    asked = {
        Resource.MEMORY: [ids("b", range(4)) | ids("c", range(4)), ids("a", range(4)) | ids("b", range(4))],
        Resource.WHOLE: [frozenset({"GPU-b", "GPU-c"}), frozenset({"GPU-a", "GPU-b"})],
    }
    for resource, cases in asked.items():
        for devices in cases:
            answer = refusal_of(allocate(resource, devices, node, occupied=NOBODY, spreads={2}, takes_mig=takes_mig))
            assert (answer.kind, answer.reason) == (
                RefusalKind.MIG,
                "GPU-b is a MIG device, which a container can only have alone",
            )
    given_of(allocate(Resource.MEMORY, ids("b", range(4)), node, occupied=NOBODY, spreads=(), takes_mig=takes_mig))


def test_a_mig_device_is_given_whole_to_who_names_it() -> None:
    """Not to a container that asks for a GPU."""
    node, devices = sliced("b", a=16, b=9), frozenset({"GPU-b"})
    given_of(allocate(Resource.WHOLE, devices, node, occupied=NOBODY, spreads=(), takes_mig=True))
    answer = refusal_of(allocate(Resource.WHOLE, devices, node, occupied=NOBODY, spreads=()))
    assert (answer.kind, answer.reason) == (
        RefusalKind.MIG,
        "GPU-b is a MIG device, given whole only to a pod whose gpu-model has MIG in it",
    )
