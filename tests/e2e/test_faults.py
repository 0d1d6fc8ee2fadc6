"""Faults of the matrix pass on a real kube-apiserver and kube-scheduler as on the simulated ones."""

from collections.abc import Callable

import pytest

from tests.chaos.faults.matrix import ROWS, Row
from tests.chaos.running import run_row
from tests.chaos.world.control import RealControl
from tests.e2e.controlplane import ControlPlane

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.real])
def test_a_fault_passes(row: Row, control_plane: ControlPlane, record_property: Callable[[str, object], None]) -> None:
    """No GPU memory is given twice, no pod is lost, and all that fits is bound soon after."""
    for report in run_row(row, seed=1, control=RealControl(control_plane)):
        record_property("chaos", report.line())
        assert report.problems == ()
