"""What one pod asks other programs for, in gpupack's words; and each question that a person has to answer."""

from pathlib import Path
from typing import Any

import pytest

from extender.contract.units import UnitMib
from extender.kubectl.migrating.deciding import decide, units_of
from extender.kubectl.migrating.peers import REFUSED_ENVIRONMENT
from extender.kubectl.migrating.requests import (
    MigrateOptions,
    MigrateOptionsError,
    PeerContainer,
    PeerPod,
    Rewrite,
    Undecided,
)


def asking(limits: dict[str, str], **pod: Any) -> PeerPod:
    """A pod of one container, `main`."""
    return PeerPod((PeerContainer("main", limits=limits),), **pod)


def put(pod: PeerPod, **options: Any) -> dict[str, str | int]:
    """What the first container's limits and the pod's annotations get."""
    verdict = decide(pod, MigrateOptions(**options))
    assert isinstance(verdict, Rewrite)
    return {**verdict.limits["main"].put, **verdict.annotations.put}


@pytest.mark.parametrize(
    ("pod", "options", "expected"),
    [
        (asking({"aliyun.com/gpu-mem": "3"}), {}, {"gpupack.io/gpu-mem": 3}),
        (asking({"aliyun.com/gpu-mem": "3000"}), {"gpushare_unit_mib": 1}, {"gpupack.io/gpu-mem": 3}),
        (
            asking({"aliyun.com/gpu-mem": "8"}, labels={"aliyun.com/gpu-count": "4"}),
            {},
            {"gpupack.io/gpu-mem": 8, "gpupack.io/gpu-count": "4"},
        ),
        (asking({"aliyun.com/gpu-mem": "3", "aliyun.com/gpu-count": "1"}), {}, {"gpupack.io/gpu-mem": 3}),
        (asking({"nvidia.com/gpumem": "3000"}), {}, {"gpupack.io/gpu-mem": 3}),
        (
            asking({"nvidia.com/gpu": "1", "nvidia.com/gpumem": "2048"}),
            {"unit_mib": UnitMib(256)},
            {"gpupack.io/gpu-mem": 8},
        ),
        (
            asking({"nvidia.com/gpu": "2", "nvidia.com/gpumem-percentage": "50"}),
            {"gpu_memory_mib": 81920},
            {"gpupack.io/gpu-mem": 80, "gpupack.io/gpu-count": "2"},
        ),
        (
            asking({"nvidia.com/gpumem": "1024"}, annotations={"nvidia.com/nouse-gputype": "1080, 2080"}),
            {},
            {"gpupack.io/gpu-mem": 1, "gpupack.io/gpu-model": "!*1080*,!*2080*"},
        ),
        (asking({"nvidia.com/gpu": "2"}), {"whole_gpus": True}, {"gpupack.io/gpu": 2}),
        (asking({"nvidia.com/mig-1g.5gb": "1"}), {}, {"gpupack.io/gpu": 1, "gpupack.io/gpu-model": "*MIG-1g.5gb"}),
        (
            asking({"nvidia.com/mig-1g.10gb.me": "1"}),
            {},
            {"gpupack.io/gpu": 1, "gpupack.io/gpu-model": "*MIG-1g.10gb+me"},
        ),
        (
            asking({"nvidia.com/mig-1g.5gb": "1", "nvidia.com/gpu": "1"}),
            {"keep": frozenset({"nvidia.com/mig-1g.5gb"}), "whole_gpus": True},
            {"gpupack.io/gpu": 1},
        ),
        (asking({"nvidia.com/gpu": "1"}), {"replica_memory_mib": 8192}, {"gpupack.io/gpu-mem": 8}),
        (
            asking({"nvidia.com/gpu.shared": "1"}),
            {"replica_memory_mib": 8192, "whole_gpus": True},
            {"gpupack.io/gpu-mem": 8},
        ),
        (
            asking({}, annotations={"gpu-fraction": "0.5"}, scheduler_name="kai-scheduler"),
            {"gpu_memory_mib": 40960},
            {"gpupack.io/gpu-mem": 20},
        ),
        (
            asking({}, annotations={"gpu-memory": "4096", "gpu-fraction-num-devices": "2"}),
            {"kai": True},
            {"gpupack.io/gpu-mem": 8, "gpupack.io/gpu-count": "2"},
        ),
        (
            asking({"nvidia.com/gpumem": "1024", "nvidia.com/gpucores": "30"}),
            {"drop": frozenset({"nvidia.com/gpucores"})},
            {"gpupack.io/gpu-mem": 1},
        ),
        (
            asking({"nvidia.com/gpu": "2", "nvidia.com/gpumem": "1024", "nvidia.com/gpucores": "30"}),
            {},
            {"gpupack.io/gpu-mem": 2, "gpupack.io/gpu-core": 60, "gpupack.io/gpu-count": "2"},
        ),
        (
            asking({"aliyun.com/gpu-mem": "1", "aliyun.com/gpu-core.percentage": "30"}),
            {},
            {"gpupack.io/gpu-mem": 1, "gpupack.io/gpu-core": 30},
        ),
    ],
)
def test_what_is_clear_is_translated(pod: PeerPod, options: dict[str, Any], expected: dict[str, str | int]) -> None:
    """The sums that the peers' own documents give."""
    assert put(pod, **options) == expected


@pytest.mark.parametrize(
    ("pod", "options", "question"),
    [
        (asking({"nvidia.com/gpu": "1"}), {}, "for a GPU that is not shared pass --whole-gpus"),
        (asking({"nvidia.com/gpu.shared": "1"}), {}, "pass --replica-memory-mib"),
        (asking({"nvidia.com/gpu.shared": "2"}), {"replica_memory_mib": 1024}, "may be of one GPU or of several"),
        (asking({"nvidia.com/gpumem-percentage": "50"}), {}, "pass --gpu-memory-mib"),
        (asking({"nvidia.com/gpumem": "1", "nvidia.com/gpumem-percentage": "50"}), {}, "leave one of them"),
        (asking({"nvidia.com/gpumem": "1", "nvidia.com/gpucores": "100"}), {}, "no other pod gets the GPU"),
        (asking({"nvidia.com/gpumem": "1", "nvidia.com/gpucores": "101"}), {}, "at most 100 percent"),
        (asking({"nvidia.com/gpucores": "30"}), {}, "nvidia.com/gpucores without nvidia.com/gpumem"),
        (asking({"nvidia.com/gpumem": "1", "nvidia.com/priority": "1"}), {}, "pass --drop nvidia.com/priority"),
        (asking({"nvidia.com/gpumem": "x"}), {}, "expected a Kubernetes quantity"),
        (asking({"nvidia.com/gpumem": "-1"}), {}, "nvidia.com/gpumem is -1, expected at least 1"),
        (asking({"nvidia.com/gpumem": "9999999999999"}), {}, "more than any machine has"),
        (asking({"aliyun.com/gpu-mem": "3000"}), {}, "pass --gpushare-unit MiB"),
        (asking({"aliyun.com/gpu-count": "2"}), {}, "say how much memory"),
        (asking({"aliyun.com/gpu-mem": "4", "aliyun.com/gpu-count": "2"}), {}, "as a label of the pod it is"),
        (asking({"aliyun.com/gpu-mem": "4"}, labels={"aliyun.com/gpu-count": "3"}), {}, "is not divisible"),
        (asking({"aliyun.com/gpu-mem": "4", "nvidia.com/gpumem": "4"}), {}, "names of several programs"),
        (asking({"aliyun.com/gpu-mem": "4", "gpupack.io/gpu-mem": "4"}), {}, "asks for gpupack.io/gpu-mem already"),
        (asking({"aliyun.com/gpu-mem": "4"}, annotations={"gpupack.io/gpu-count": "2"}), {}, "is there already"),
        (asking({"aliyun.com/gpu-mem": "4", "nvidia.com/mig-1g.5gb": "1"}), {}, "--keep nvidia.com/mig-1g.5gb"),
        (asking({"nvidia.com/mig-1g.5gb": "2"}), {}, "a program can use one MIG device only"),
        (
            asking({"nvidia.com/mig-1g.5gb": "1", "nvidia.com/mig-2g.10gb": "1"}),
            {},
            "one MIG device and nothing beside it",
        ),
        (asking({"nvidia.com/mig-1c.3g.20gb": "1"}), {}, "is no whole GPU instance"),
        (asking({"nvidia.com/mig-1g.5gb": "many"}), {}, "nvidia.com/mig-1g.5gb"),
        (
            asking({"nvidia.com/mig-1g.5gb": "1"}, annotations={"nvidia.com/use-gputype": "A100"}),
            {},
            "one gpu-model for all of its containers",
        ),
        (
            asking({"nvidia.com/gpumem": "4"}, annotations={"nvidia.com/use-gpuuuid": "GPU-1"}),
            {},
            "certain GPUs by UUID",
        ),
        (
            asking({"nvidia.com/gpumem": "4"}, annotations={"nvidia.com/use-gputype": "A1?0"}),
            {},
            "characters that are patterns",
        ),
        (asking({}, annotations={"gpu-memory": "2000"}), {}, "may be KAI's"),
        (asking({}, annotations={"gpu-fraction": "2"}), {"kai": True}, "expected a fraction such as 0.5"),
        (asking({}, annotations={"gpu-fraction": "0.5"}), {"kai": True}, "pass --gpu-memory-mib"),
        (asking({}, annotations={"gpu-fraction-num-devices": "2"}), {"kai": True}, "expected one of the annotations"),
        (
            asking({}, annotations={"gpu-memory": "2", "gpu-fraction-container-name": "no"}),
            {"kai": True},
            "no container of the pod",
        ),
        (asking({"nvidia.com/gpumem": "9"}, annotations={"gpu-memory": "2"}), {"kai": True}, "and, as an annotation"),
        (
            asking({"nvidia.com/gpumem": "9"}, annotations={"gpu-memory": "2", "mps": "true"}),
            {"kai": True},
            "--drop mps",
        ),
    ],
)
def test_what_is_not_clear_is_asked(pod: PeerPod, options: dict[str, Any], question: str) -> None:
    """With what would answer it; never a guess."""
    verdict = decide(pod, MigrateOptions(**options))
    assert isinstance(verdict, Undecided)
    assert any(question in each for each in verdict.questions), verdict.questions


def test_containers_that_share_different_numbers_of_gpus_are_asked_about() -> None:
    """A pod has one count in gpupack."""
    containers = tuple(
        PeerContainer(name, limits={"nvidia.com/gpu": gpus, "nvidia.com/gpumem": "1"})
        for name, gpus in (("a", "1"), ("b", "2"))
    )
    verdict = decide(PeerPod(containers), MigrateOptions())
    assert verdict == Undecided(("containers share 1 and 2 GPUs; in gpupack a pod has one count",))


def test_what_gpupack_would_refuse_is_not_written() -> None:
    """An app container after a larger init container, spread over two GPUs."""
    sizes = {"init": "4096", "main": "1024"}
    containers = tuple(
        PeerContainer(name, init=name == "init", limits={"nvidia.com/gpu": "2", "nvidia.com/gpumem": size})
        for name, size in sizes.items()
    )
    verdict = decide(PeerPod(containers), MigrateOptions())
    assert isinstance(verdict, Undecided)
    assert verdict.questions[0].startswith("gpupack would refuse the pod: container main: asks for less gpu-mem")


@pytest.mark.parametrize(
    ("pod", "options"),
    [
        (asking({"cpu": "1"}), {}),
        (asking({"gpupack.io/gpu-mem": "1"}), {}),
        (asking({"nvidia.com/gpu": "1"}), {"keep": frozenset({"nvidia.com/gpu"})}),
        (asking({"cpu": "1"}, scheduler_name="kai-scheduler"), {}),
        (asking({}, annotations={"gpu-memory": "1"}), {"keep": frozenset({"gpu-memory"})}),
    ],
)
def test_pods_that_ask_for_nothing_of_this_are_left(pod: PeerPod, options: dict[str, Any]) -> None:
    """And nothing is said of them."""
    assert decide(pod, MigrateOptions(**options)) is None


@pytest.mark.parametrize(
    ("before", "option", "expected"),
    [
        ("", "", {}),
        ("hami-scheduler", "", {}),
        ("hami-scheduler", "gpupack-scheduler", {"schedulerName": "gpupack-scheduler"}),
        ("", "gpupack-scheduler", {"schedulerName": "gpupack-scheduler"}),
        ("volcano", "gpupack-scheduler", {}),
    ],
)
def test_the_scheduler_is_named_as_the_installation_wants(before: str, option: str, expected: dict[str, str]) -> None:
    """A scheduler that belongs to none of these programs stays, with a note."""
    verdict = decide(
        asking({"nvidia.com/gpumem": "1024"}, scheduler_name=before), MigrateOptions(scheduler_name=option)
    )
    assert isinstance(verdict, Rewrite)
    assert verdict.spec.put == expected
    assert bool(verdict.spec.remove) == (before == "hami-scheduler")
    assert bool(verdict.notes) == (before == "volcano")


def test_a_program_that_reads_a_peers_variable_is_noted() -> None:
    """It would find nothing there."""
    container = PeerContainer(
        "main", limits={"aliyun.com/gpu-mem": "1"}, mentions="['sh', '-c', 'run $ALIYUN_COM_GPU_MEM_DEV']"
    )
    verdict = decide(PeerPod((container,)), MigrateOptions())
    assert isinstance(verdict, Rewrite)
    assert "gpupack does not set" in verdict.notes[0]


@pytest.mark.parametrize(("value", "noted"), [("all", True), (None, True), ("void", False)])
def test_a_variable_that_admission_refuses_is_noted(value: str | None, noted: bool) -> None:  # noqa: FBT001 (a case)
    """By name; the rest of its environment is its own."""
    container = PeerContainer(
        "main", limits={"aliyun.com/gpu-mem": "1"}, variables={"HOME": "/", "NVIDIA_VISIBLE_DEVICES": value}
    )
    verdict = decide(PeerPod((container,)), MigrateOptions())
    assert isinstance(verdict, Rewrite)
    note = (
        "container main: sets NVIDIA_VISIBLE_DEVICES itself, which gpupack's admission policy refuses in pods that ask "
        "for GPUs: remove it"
    )
    assert verdict.notes == ((note,) if noted else ())


def test_the_refused_variables_are_those_of_the_admission_policy() -> None:
    """Each beginning stands in the policy that is shipped."""
    policy = (Path(__file__).parents[4] / "manifests" / "base" / "admission-requests.yaml").read_text(encoding="utf-8")
    assert [beginning for beginning in REFUSED_ENVIRONMENT if f"'{beginning}'" not in policy] == []


def test_memory_is_rounded_up_to_units() -> None:
    """Less could be too little for the program."""
    assert [units_of(memory_mib, UnitMib(1024)) for memory_mib in (1, 1024, 1025, 3000)] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpushare_unit_mib": 2}, "gpushare_unit_mib is 2, expected 1 or 1024"),
        ({"gpu_memory_mib": 0}, "gpu_memory_mib is 0, expected at least 1 MiB"),
        ({"keep": frozenset({"a"}), "drop": frozenset({"a"})}, "a: both to keep and to drop"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    """With the option's name."""
    with pytest.raises(MigrateOptionsError, match=message):
        MigrateOptions(**options)


@pytest.mark.parametrize("other", [{"nvidia.com/mig-2g.10gb": "1"}, {"aliyun.com/gpu-mem": "4"}])
def test_containers_of_a_pod_have_one_model(other: dict[str, str]) -> None:
    """The annotation is the pod's; two of one profile are alike."""
    first = PeerContainer("a", limits={"nvidia.com/mig-1g.5gb": "1"})
    unlike = decide(PeerPod((first, PeerContainer("b", limits=other))), MigrateOptions())
    assert isinstance(unlike, Undecided)
    assert any("one gpu-model for all of its containers" in question for question in unlike.questions)
    alike = decide(PeerPod((first, PeerContainer("b", limits=dict(first.limits)))), MigrateOptions())
    assert isinstance(alike, Rewrite)
    assert alike.annotations.put == {"gpupack.io/gpu-model": "*MIG-1g.5gb"}
    assert alike.notes == ("gpupack offers MIG devices where its device plugin is started with --mig=slices",)
