"""A startup taint goes when the kubelet offers what the plugin serves, and nothing else changes on the Node."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_plugin.pods.decoding import NodeNotes, decode_node
from device_plugin.reporting.startup_taints import StartupTaints
from extender.contract.names import Names
from tests.device_plugin.apiside import ApiSide, api_side
from tests.fakes.kubelet_patches import FakePatching

PATH = "/api/v1/nodes/n1"
KEY = "startup-taint.cluster-autoscaler.kubernetes.io/gpupack"
STARTUP = {"key": KEY, "value": "true", "effect": "NoSchedule"}
EVICTING = {"key": KEY, "effect": "NoExecute", "timeAdded": "2026-11-30T20:00:00Z"}
OTHER = {"key": "example.com/team", "value": "a", "effect": "NoExecute", "timeAdded": "2026-11-30T20:00:00Z"}
OFFERED = {"gpupack.io/gpu-mem": "30", "gpupack.io/gpu": "2", "gpupack.io/gpu-core": "200"}


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ApiSide]:
    """An API server with a new node that offers what the plugin serves."""
    with api_side(tmp_path) as found:
        change(found, taints=[STARTUP, OTHER])
        offer(found, OFFERED)
        yield found


def change(side: ApiSide, **spec: Any) -> None:
    """Change the node's spec."""
    side.client.patch_node("n1", {"spec": spec})


def offer(side: ApiSide, allocatable: dict[str, str]) -> None:
    """Say what the kubelet says."""
    status = {"allocatable": dict.fromkeys(OFFERED) | allocatable}
    side.client.patch_node("n1", {"status": status}, subresource="status")


def taints(side: ApiSide) -> list[dict[str, str]]:
    """The node's taints."""
    return list((side.client.node("n1") or {})["spec"].get("taints") or ())


def notes(side: ApiSide) -> NodeNotes:
    """The node as the watch shows it."""
    return decode_node(side.api.read(PATH, 10.0), Names())


def removing(side: ApiSide, *keys: str, registered: bool = True) -> StartupTaints:
    """What is tested, with the newest state of the node."""
    found = StartupTaints(
        api=side.api, node_name="n1", names=Names(), keys=keys or (KEY,), is_registered=lambda: registered
    )
    found.take(notes(side))
    return found


def test_it_goes_and_the_others_stay_as_they_are(side: ApiSide) -> None:
    """With each of its effects."""
    change(side, taints=[STARTUP, OTHER, EVICTING])
    assert removing(side).step() == 60.0
    assert taints(side) == [OTHER]


@pytest.mark.parametrize(
    "offered",
    [
        {},
        {**OFFERED, "gpupack.io/gpu-mem": "0"},
        {"gpupack.io/gpu": "2", "gpupack.io/gpu-core": "200"},
        {"gpupack.io/gpu-mem": "30"},
    ],
)
def test_it_stays_until_everything_is_offered(side: ApiSide, offered: dict[str, str]) -> None:
    """An autoscaler would believe that the node has none of what is missing."""
    offer(side, offered)
    removing(side).step()
    assert taints(side) == [STARTUP, OTHER]


def test_a_resource_without_devices_is_offered_all_the_same(side: ApiSide) -> None:
    """As whole GPUs on a node of slices; without memory there is nothing to give."""
    offer(side, {**OFFERED, "gpupack.io/gpu": "0", "gpupack.io/gpu-core": "0"})
    removing(side).step()
    assert taints(side) == [OTHER]


def test_it_stays_until_the_plugin_is_registered(side: ApiSide) -> None:
    """After a reboot the Node offers what it did before."""
    assert removing(side, registered=False).step() == 1.0
    assert taints(side) == [STARTUP, OTHER]


def test_only_its_own_keys(side: ApiSide) -> None:
    """Several may be named; a key is compared as a whole."""
    removing(side, f"{KEY}s", "gpupack").step()
    assert taints(side) == [STARTUP, OTHER]
    removing(side, "example.com/none", KEY, str(OTHER["key"])).step()
    assert taints(side) == []


def test_a_taint_that_came_meanwhile_is_kept(side: ApiSide) -> None:
    """What is written rests on the Node as it was seen; the next look has the newest one."""
    removal = removing(side)
    late = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    change(side, taints=[STARTUP, OTHER, late])
    assert (removal.step(), removal.problem) == (1.0, "")
    assert taints(side) == [STARTUP, OTHER, late]
    removal.take(notes(side))
    removal.step()
    assert taints(side) == [OTHER, late]


def test_a_refusal_is_told_and_tried_again() -> None:
    """As without the right, or where the policy does not know the key."""
    api = FakePatching()
    api.status = 403
    removal = StartupTaints(api=api, node_name="n1", names=Names(), keys=[KEY], is_registered=lambda: True)
    removal.take(NodeNotes("n1", "u", None, version="7", taints=(STARTUP,), offered=dict.fromkeys(OFFERED, 1)))
    assert removal.step() is None
    assert removal.problem == "startup taints not removed: 403 Ordered: by the test"
    assert api.patches == [(PATH, {"uid": "u", "resourceVersion": "7"})]
    removal.take(NodeNotes("n1", "u", None, version="8"))
    assert (removal.step(), removal.problem) == (60.0, "")


def test_without_a_node_or_a_key_nothing_is_written(side: ApiSide) -> None:
    """Before the watch, after the Node is gone, and where no taint is named."""
    removal = removing(side)
    removal.gone()
    removal.step()
    none = StartupTaints(api=side.api, node_name="n1", names=Names(), keys=(), is_registered=lambda: True)
    none.take(notes(side))
    none.step()
    assert taints(side) == [STARTUP, OTHER]
