"""Device plugins leave the nodes on which the GPU Operator needs the driver for itself."""

from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
PAUSED = ("paused-for-driver-upgrade", "paused-for-mig-change")
DEPLOY = "nvidia.com/gpu.deploy."


def terms(path: str) -> list[dict[str, Any]]:
    """The terms of the plugin's node affinity, of the kustomization or of the chart's values."""
    body = yaml.safe_load((MANIFESTS / path).read_text(encoding="utf-8"))
    pod = body["devicePlugin"] if "devicePlugin" in body else body["spec"]["template"]["spec"]
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return list(required["nodeSelectorTerms"])


def matches(term: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a node with these labels fits a term, with the operators that are used here."""
    for each in term["matchExpressions"]:
        value, values = labels.get(each["key"]), each.get("values", ())
        fits = {"In": value in values, "NotIn": value not in values, "Exists": value is not None}
        if not fits[each["operator"]]:
            return False
    return True


@pytest.mark.parametrize("path", ["base/device-plugin.yaml", "chart/values.yaml"])
def test_a_node_whose_gpu_clients_are_paused_has_no_plugin(path: str) -> None:
    """By whichever label it is found; NVIDIA's plugin being off there is no reason."""
    for term in terms(path):
        first = term["matchExpressions"][0]
        found = {first["key"]: (first.get("values") or ["x"])[0]}
        assert matches(term, found)
        assert matches(term, {**found, f"{DEPLOY}device-plugin": "false", f"{DEPLOY}gpu-feature-discovery": "false"})
        assert matches(term, {**found, f"{DEPLOY}client": "true", f"{DEPLOY}device-plugin": "true"})
        assert not matches(term, {**found, f"{DEPLOY}client": "false"})
        for name in ("client", "device-plugin", "gpu-feature-discovery"):
            assert not any(matches(term, {**found, f"{DEPLOY}{name}": value}) for value in PAUSED)
