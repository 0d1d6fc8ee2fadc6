"""The doctor says what becomes of GPUs in MIG mode, what of them is left out, and what rounding costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.simulated.nvml.driver import DRIVER_NOT_LOADED, Model, SimulatedDriver
from bench.simulated.nvml.slicing import slice_uuid
from device_plugin.doctoring.checks import check_node
from device_plugin.doctoring.facts import CdiFile, MigFacts, NodeFacts
from device_plugin.doctoring.gathering import gather_node
from device_plugin.doctoring.mig_checks import check_mig, gather_mig
from device_plugin.gpus.mig.slices import NO_DEVICES, SEVERAL
from device_plugin.sampling.nvml import load_pynvml
from extender.contract.findings import Level

A, B = (f"GPU-0000000{number}-0000-4000-8000-000000000000" for number in range(2))
ON = MigFacts(A, is_on=True, will_be_on=True, is_monitored=True, sizes_mib={"MIG-1": 9984, "MIG-2": 9984})


def said(*mig: MigFacts, strategy: str = "slices", unit_mib: int = 256) -> list[tuple[Level, str]]:
    """Findings about MIG."""
    facts = NodeFacts(mig=mig, mig_strategy=strategy, memory_unit_mib=unit_mib)
    return [(finding.level, finding.found) for finding in check_mig(facts)]


def changed(**values: Any) -> MigFacts:
    """The GPU in MIG mode, with something else about it."""
    named: Mapping[str, Any] = {
        "uuid": A,
        "is_on": True,
        "will_be_on": True,
        "is_monitored": True,
        "sizes_mib": ON.sizes_mib,
        **values,
    }
    return MigFacts(**named)


OFFERED = (Level.OK, "2 MIG devices of 1 GPUs are offered")


@pytest.mark.parametrize(
    ("mig", "unit_mib", "expected"),
    [
        (ON, 256, []),
        (changed(will_be_on=False), 256, [(Level.WARNING, f"GPU {A}: MIG mode is turned off at its next reset")]),
        (changed(is_monitored=False), 256, [(Level.NOTE, "events of single MIG devices may be missing")]),
        (changed(left_out={"0:3": SEVERAL}), 256, [(Level.WARNING, f"MIG device 0:3 is left out: {SEVERAL}")]),
        (ON, 1024, [(Level.NOTE, "1536 MiB of MIG devices are in no unit of 1024 MiB")]),
    ],
)
def test_what_should_be_known_of_mig_devices(mig: MigFacts, unit_mib: int, expected: list[tuple[Level, str]]) -> None:
    """A change that waits for a reset comes first; then what is offered, and what is not."""
    found = said(mig, unit_mib=unit_mib)
    assert [each for each in found if each != OFFERED] == expected
    assert OFFERED in found


def test_smaller_units_would_offer_more() -> None:
    """How much more is said."""
    (finding,) = [each for each in check_mig(NodeFacts(mig=(ON,), mig_strategy="slices")) if each.level is Level.NOTE]
    assert finding.advice == "--memory-unit-mib 256 would offer 1536 MiB of them"


def test_gpus_without_mig_are_no_subject() -> None:
    """One that will be in MIG mode is."""
    assert said() == []
    soon = MigFacts(A, is_on=False, will_be_on=True)
    assert said(soon) == [(Level.WARNING, f"GPU {A}: MIG mode is turned on at its next reset")]


def test_by_default_a_gpu_in_mig_mode_is_not_shared() -> None:
    """With the choices that there are, and once."""
    facts = NodeFacts(driver="580.1", gpus={A: "MIG is enabled", B: ""}, mig=(ON,))
    (finding,) = [each for each in check_node(facts) if each.check in ("gpu", "mig")]
    assert (finding.level, finding.found) == (Level.WARNING, f"GPU {A} is not shared: MIG is enabled")
    assert "--mig=slices" in finding.advice


def test_mig_devices_are_looked_at(driver: SimulatedDriver) -> None:
    """Their sizes, whether they may be monitored, and what will change."""
    driver.add(Model())
    driver.add(Model())
    driver.slice(0, ["1g.5gb", "1c.3g.20gb", "1c.3g.20gb"])
    driver.gpus[1].mig_pending = 1
    driver.state.monitor = 0
    sizes = {slice_uuid(A, 7, 0): 4864}
    assert gather_mig(load_pynvml, 10.0) == (
        MigFacts(A, is_on=True, will_be_on=True, sizes_mib=sizes, left_out={"0:1": SEVERAL, "0:2": SEVERAL}),
        MigFacts(B, is_on=False, will_be_on=True),
    )
    driver.state.monitor = 1
    assert [each.is_monitored for each in gather_mig(load_pynvml, 10.0)] == [True, False]


def test_a_driver_that_does_not_answer_says_nothing_of_mig(driver: SimulatedDriver) -> None:
    """Others report that."""
    driver.state.init_code = DRIVER_NOT_LOADED
    assert gather_mig(load_pynvml, 10.0) == ()


@pytest.mark.parametrize(("profiles", "expected"), [(["1g.5gb"], ""), ([], NO_DEVICES)])
def test_mig_devices_take_the_place_of_their_gpu(
    driver: SimulatedDriver, tmp_path: Path, profiles: list[str], expected: str
) -> None:
    """So CDI must name them; a GPU without any is named with the reason."""
    driver.add(Model())
    driver.slice(0, profiles)
    facts = gather_node(
        root=tmp_path, sockets=(), strategy="cdi-cri", mps=None, load_pynvml=load_pynvml, mig_strategy="slices"
    )
    assert facts.gpus == {(slice_uuid(A, 7, 0) if profiles else A): expected}


def test_cdi_that_does_not_know_a_mig_device_is_an_error() -> None:
    """Its specifications do not follow changes of MIG devices."""
    files = {"/var/run/cdi/nvidia.yaml": CdiFile("nvidia.com/gpu", frozenset({A, "MIG-1"}))}
    facts = NodeFacts(gpus={"MIG-1": "", "MIG-2": ""}, cdi_files=files, strategy="cdi-cri")
    (finding,) = [each for each in check_node(facts) if each.check == "cdi"]
    assert (finding.level, finding.found.endswith("named MIG-2")) == (Level.ERROR, True)
