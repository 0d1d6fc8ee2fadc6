"""The queries of docs/metrics.md that join gpupack's series with dcgm-exporter's say what the page says."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import REPOSITORY, fences

CONTAINER = 'namespace="n", container="c", instance="plugin"'
CARD = f'UUID="GPU-a", {CONTAINER}'
SLICE = f'UUID="MIG-7", GPU_I_ID="7", {CONTAINER}'
SERIES = {
    'DCGM_FI_DEV_SM_CLOCK{UUID="GPU-a", instance="dcgm"}': 1410,
    'DCGM_FI_DEV_SM_CLOCK{UUID="GPU-m", GPU_I_ID="7", instance="dcgm"}': 1000,
    'DCGM_FI_DEV_SM_CLOCK{UUID="GPU-m", GPU_I_ID="8", instance="dcgm"}': 1000,
    'DCGM_FI_DEV_FB_USED{UUID="GPU-a", instance="dcgm"}': 5,
    'DCGM_FI_DEV_FB_USED{UUID="GPU-m", GPU_I_ID="7", instance="dcgm", pod="r"}': 700,
    'DCGM_FI_DEV_FB_USED{UUID="GPU-m", GPU_I_ID="8", instance="dcgm"}': 800,
    f'gpupack_container_gpu_memory_allocated_bytes{{{CARD}, pod="p"}}': 8 << 30,
    f'gpupack_container_gpu_memory_allocated_bytes{{{CARD}, pod="q"}}': 4 << 30,
    f'gpupack_container_gpu_memory_allocated_bytes{{{SLICE}, pod="r"}}': 1 << 30,
    'gpupack_gpu_info{UUID="GPU-a"}': 1,
    'gpupack_gpu_info{UUID="MIG-7", GPU_I_ID="7", GPU_I_PROFILE="1g.10gb", parent_uuid="GPU-m"}': 1,
    'gpupack_gpu_info{UUID="MIG-8", GPU_I_ID="8", GPU_I_PROFILE="1g.10gb", parent_uuid="GPU-m"}': 1,
}
"""A GPU with two containers, and one in MIG mode with two MIG devices, of which a container has one."""

CLOCKS = {f'{{{CARD}, pod="p"}}': 1410, f'{{{CARD}, pod="q"}}': 1410}
MIG_MEMORY = {
    '{UUID="GPU-m", GPU_I_ID="7", GPU_I_PROFILE="1g.10gb", parent_uuid="GPU-m"}': 700,
    '{UUID="GPU-m", GPU_I_ID="8", GPU_I_PROFILE="1g.10gb", parent_uuid="GPU-m"}': 800,
}


@pytest.mark.e2e
def test_joins_with_dcgm_exporter(programs: Path, tmp_path: Path) -> None:
    """The clock of each container's GPU, and the memory of each MIG device, by Prometheus' own evaluation."""
    page = fences(REPOSITORY / "docs" / "metrics.md")
    joins = [fence.text for fence in page if fence.language == "promql" and "DCGM_" in fence.text]
    found = [[{"labels": at, "value": value} for at, value in each.items()] for each in (CLOCKS, MIG_MEMORY)]
    checks = [
        {"expr": join, "eval_time": "2m", "exp_samples": samples} for join, samples in zip(joins, found, strict=True)
    ]
    series = [{"series": name, "values": f"{value}x5"} for name, value in SERIES.items()]
    file = tmp_path / "joins_test.yaml"
    file.write_text(yaml.safe_dump({"tests": [{"input_series": series, "promql_expr_test": checks}]}))
    command = [str(programs / "promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
