"""Whatever the driver answers: what can't be trusted is not offered, what can is, and the plugin lives on."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_plugin.gpus.devices import devices_of
from device_plugin.gpus.xids import QUIET_S
from device_plugin.sampling import xids
from device_plugin.settings import Resource
from extender.contract.inventory import parse_inventory
from tests.device_plugin.drivers import simulated
from tests.device_plugin.sampling.beliefs import SLACK_MIB, Belief, used_mib
from tests.device_plugin.sampling.driver_states import PROBATION_S, STEPS, Node

_EXAMPLES = 60
_FEWEST_STATES = 40


def test_any_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call may fail with any code at any time, values are anywhere, GPUs come and go, XIDs are raised."""
    monkeypatch.setattr(xids, "_WAIT_MS", 5)
    states: set[bytes] = set()

    @settings(max_examples=_EXAMPLES)
    @given(count=st.integers(0, 3), steps=st.lists(STEPS, max_size=15))
    def run(count: int, steps: list[tuple[Any, ...]]) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="gp") as folder,
            simulated(Path(folder) / "nvml", monkeypatch) as driver,
        ):
            node = Node(driver)
            try:
                _follow(node, count, steps, states)
            finally:
                node.close()

    run()
    assert len(states) >= _FEWEST_STATES


def _follow(node: Node, count: int, steps: list[tuple[Any, ...]], states: set[bytes]) -> None:
    belief = Belief()
    for _ in range(count):
        node.add()
    _look(node, belief)
    for step in steps:
        node.take(step)
        states.add(bytes(node.driver.state))
        _look(node, belief)
        node.wait(PROBATION_S)
        _look(node, belief)
    node.heal_all()
    # Quiet for long enough, and then well for long enough.
    for length_s in (QUIET_S, PROBATION_S, PROBATION_S):
        node.wait(length_s)
        _look(node, belief)
    assert node.offered == {slot.born for slot in node.slots}


def _look(node: Node, belief: Belief) -> None:
    belief.follow(node)
    node.look()
    if belief.is_blind:
        assert node.feed.problem
        assert node.offered == set()
        return
    assert node.feed.problem == ""
    assert node.offered <= belief.may
    assert belief.must <= node.offered
    _check_use(node)
    _check_texts(node)


def _check_use(node: Node) -> None:
    """Memory in use is never free: no pod has any here, so all of it is outside."""
    outside_mib = node.meter.newest.outside_mib
    for index, gpu in enumerate(node.driver.gpus):
        uuid = gpu.uuid.decode(errors="replace")
        if uuid in node.offered:
            assert outside_mib[uuid] >= used_mib(node.driver, index) - SLACK_MIB


def _check_texts(node: Node) -> None:
    """The kubelet, the inventory and Prometheus can be told all of it."""
    assert node.feed.gpus is not None
    inventory, outside_mib = node.feed.gpus.inventory(), node.meter.newest.outside_mib
    gpus = tuple(replace(gpu, outside_mib=outside_mib.get(gpu.uuid, 0)) for gpu in inventory.gpus)
    assert parse_inventory(replace(inventory, gpus=gpus).to_json()).gpus == gpus
    for resource in Resource:
        devices = devices_of(resource, node.feed.gpus)
        assert len({device.id for device in devices}) == len(devices)
    assert all(text.isprintable() for text in node.source.left_out.values())
    assert len([uuid for uuid in node.source.unwatched if not uuid]) == 0
