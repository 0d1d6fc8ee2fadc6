"""Advice is true: what is said to fit now fits, a unit more does not, and the pod that is named makes room."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from extender.kubectl.explaining.advice import advice_for
from extender.kubectl.explaining.diagnosis import diagnose
from tests.extender.kubectl.views import asker, on, view
from tests.extender.objects import Json, mixed_node, node, pod, uuid

FULL = on("full", 80, "GPU-a-0", "a")


def advice(nodes: list[Json], waits: Json, *others: Json) -> list[str]:
    """What would help the pod `waits`."""
    seen = view(nodes, [waits, *others])
    return advice_for(seen, asker(seen))


def fits(nodes: list[Json], waits: Json, *others: Json) -> bool:
    """Whether the pod fits somewhere."""
    seen = view(nodes, [waits, *others])
    return bool(diagnose(seen, asker(seen)).fitting)


@given(
    sizes=st.lists(st.lists(st.integers(4, 40), min_size=1, max_size=3), min_size=1, max_size=3),
    used=st.lists(st.integers(1, 30), min_size=3, max_size=3),
    wanted=st.integers(2, 60),
)
def test_what_is_said_to_help_helps(sizes: list[list[int]], used: list[int], wanted: int) -> None:
    """Each piece of advice, followed."""
    nodes = [node(f"n{at}", *units) for at, units in enumerate(sizes)]
    there = [on(f"there-{at}", used[at], uuid(f"n{at}", 0), f"n{at}") for at in range(len(sizes))]
    assume(not fits(nodes, pod("waits", wanted), *there))
    for text in advice(nodes, pod("waits", wanted), *there):
        if match := re.match(r'gpu-count: "(\d)"', text):
            assert fits(nodes, pod("waits", wanted, annotations={"gpu-count": match.group(1)}), *there)
        elif match := re.match(r"a request of at most (\d+)Gi fits now", text):
            most = int(match.group(1))
            assert fits(nodes, pod("waits", most), *there)
            assert not fits(nodes, pod("waits", most + 1), *there)
        else:
            match = re.match(r"there is room when default/(there-\d) ", text)
            assert match is not None, text
            left = [each for each in there if each["metadata"]["name"] != match.group(1)]
            assert fits(nodes, pod("waits", wanted), *left)


def test_nodes_that_a_rule_closes_are_no_advice() -> None:
    """A smaller request would not get in there either."""
    closed = {**node("a", 16), "spec": {"unschedulable": True}}
    assert advice([closed], pod("waits", 20)) == []


def test_another_model() -> None:
    """Where it would fit without the annotation; else which models there are."""
    wants_h100 = pod("waits", 8, annotations={"gpu-model": "H100*"})
    assert advice([node("a", 16)], wants_h100)[-1] == (
        "without the annotation gpupack.io/gpu-model it fits on 1 node with Tesla T4"
    )
    large = pod("waits", 20, annotations={"gpu-model": "H100*"})
    assert advice([node("a", 16)], large) == [
        "the cluster's models are Tesla T4; gpupack.io/gpu-model accepts none of them"
    ]


def test_a_pod_of_several_containers_is_not_told_to_shrink() -> None:
    """Which of them should?"""
    two = pod("waits", containers=[{**pod("x", 12)["spec"]["containers"][0], "name": name} for name in ("a", "b")])
    assert not any("at most" in text for text in advice([node("n", 16)], two))


def test_only_more_gpus_than_it_asks_for_are_advised() -> None:
    """It asks for four small shares; two large ones would fit, which is no less to find."""
    two = [node("n", 16, 16)]
    spread = pod("waits", 24, annotations={"gpu-count": "4"})
    assert not any(text.startswith("gpu-count") for text in advice(two, spread))
    assert advice(two, pod("waits", 24))[0].startswith('gpu-count: "2" (12Gi on each of 2 GPUs) fits now on n')


def test_a_whole_gpu_may_be_a_mig_device() -> None:
    """Of each size that is idle, if the pod names it; not where it wants two, nor shares."""
    split = mixed_node("a")
    told = advice([split], pod("waits", gpus=1), FULL)
    assert told[:2] == [
        f'if a MIG device would do as the whole GPU: with gpupack.io/gpu-model: "*MIG-{profile}" it fits now, on a'
        for profile in ("1g.10gb", "3g.40gb")
    ]
    for profile in ("1g.10gb", "3g.40gb"):
        assert fits([split], pod("waits", gpus=1, annotations={"gpu-model": f"*MIG-{profile}"}), FULL)
    for other in (pod("waits", gpus=2), pod("waits", 60)):
        assert not any("MIG device" in text for text in advice([split], other, FULL))


def test_a_pod_that_names_a_mig_device_is_told_of_others() -> None:
    """It knows already that one may do."""
    split = mixed_node("a")
    told = advice([split], pod("waits", gpus=1, annotations={"gpu-model": "*MIG-2g.20gb"}), FULL)
    assert told[0] == 'if another MIG device would do: with gpupack.io/gpu-model: "*MIG-1g.10gb" it fits now, on a'
    refusing = pod("waits", gpus=1, annotations={"gpu-model": "*MIG-2g*,!*1g*"})
    assert "1g.10gb" not in advice([split], refusing, FULL)[0]


@pytest.mark.parametrize(
    "waits",
    [
        pod("waits", gpus=1, annotations={"gpu-model": "H100*"}),
        pod("waits", 60, annotations={"gpu-model": "H100*", "gpu-count": "2"}),
    ],
)
def test_mig_devices_are_named_only_where_they_serve(waits: Json) -> None:
    """A whole GPU is no MIG device until that is named, and several GPUs are none at all."""
    split = mixed_node("a", ("3g.40gb", "3g.40gb"))
    nodes = [split, node("b", 40, 40)]
    (told,) = [text for text in advice(nodes, waits) if text.startswith("without the annotation")]
    assert "MIG" not in told
    assert not any(text.startswith("without the annotation") for text in advice([split], waits, FULL))


def test_a_longer_pattern_is_advised_only_where_it_serves() -> None:
    """Two GPUs are no MIG devices, whatever they are called."""
    name = {"gpu-model": "A100-SXM4-80GB MIG"}
    told = [advice([mixed_node("a")], pod("waits", gpus=count, annotations=name), FULL) for count in (1, 2)]
    assert [any("would match" in text for text in texts) for texts in told] == [True, False]
