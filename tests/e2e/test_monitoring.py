"""PodMonitors, alerts and dashboards on a real API server that has the Prometheus Operator's kinds."""

from pathlib import Path

import pytest

from tests.e2e.controlplane import ControlPlane
from tests.e2e.installation import MANIFESTS, rendered
from tests.manifests.conftest import programs as programs_fixture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

programs = programs_fixture
DASHBOARDS = MANIFESTS / "dashboards"


def test_the_operators_schema_takes_what_is_scraped_and_the_alerts(control_plane: ControlPlane, programs: Path) -> None:
    """Every field is known to its definitions; the operator itself does not run."""
    for kind in ("podmonitors", "prometheusrules"):
        control_plane.apply(programs / f"monitoring.coreos.com_{kind}.yaml")
    group = "/apis/monitoring.coreos.com/v1"
    for kind in ("podmonitors", "prometheusrules"):
        control_plane.api.wait_served(f"{group}/{kind}")
    control_plane.apply(MANIFESTS / "base" / "namespace.yaml")
    control_plane.kubectl("apply", "--server-side", "--warnings-as-errors", "-k", str(DASHBOARDS))
    kinds = sorted(each["kind"] for each in rendered(control_plane, DASHBOARDS))
    assert kinds == ["ConfigMap", "PodMonitor", "PodMonitor", "PrometheusRule"]
    stored = control_plane.api.get(f"{group}/namespaces/gpupack-system/prometheusrules/gpupack")
    (group_of_rules,) = stored["spec"]["groups"]
    assert len(group_of_rules["rules"]) == 11
