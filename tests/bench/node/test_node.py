"""The benchmark of the node side, small: it runs, and its figures make sense."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.node.command import command
from bench.node.stage import NodeLoad
from bench.simulated.nvml.driver import BuildError, build
from extender.contract.units import UnitMib

ROOT = Path(__file__).parents[3]


def test_the_default_load_is_a_node_with_4512_devices() -> None:
    """Eight GPUs of 141 GiB in units of 256 MiB, and 64 pods that leave a fifth free."""
    load = NodeLoad()
    assert (load.gpus * load.units, load.pods * load.share) == (4512, 3584)


@pytest.mark.parametrize(("pods", "share"), [(1, 12), (3, 12), (4, 12), (5, 6), (1000, 1)])
def test_shares_fit_the_gpus(pods: int, share: int) -> None:
    """Of four GPUs with 15 units."""
    assert NodeLoad(gpus=4, memory_mib=15 * 1024, pods=pods, unit_mib=UnitMib(1024)).share == share


def test_a_small_node_is_measured(tmp_path: Path) -> None:
    """Two GPUs, four pods, three seconds."""
    try:
        build()
    except BuildError as error:
        pytest.skip(f"the simulated NVML cannot be built: {error}")
    file = tmp_path / "node.json"
    options = "--gpus 2 --memory-mib 15360 --pods 4 --seconds 3 --calls 3 --pause-s 0 --memory-unit-mib 1024"
    done = CliRunner().invoke(command, [*options.split(), "--json", str(file)], catch_exceptions=False)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "| 2 GPUs, 30 devices, 4 pods | |")
    figures = json.loads(file.read_text())
    assert figures["load"]["devices"] == 30
    assert 0 < figures["cost"]["cpu_ratio"] < 1
    assert figures["cost"]["containers_measured"] == 4
    assert figures["cost"]["nvml_calls_per_second"] > 1
    assert figures["allocate"]["count"] == 3
    assert figures["xid_to_list_and_watch"]["max_s"] < 5


def test_the_documented_figures_are_the_committed_ones() -> None:
    """And they keep what the page says is the most."""
    figures = json.loads((ROOT / "bench" / "results" / "node-8-gpus.json").read_text())
    page = (ROOT / "docs" / "node-side.md").read_text()
    cost, allocate, xid = figures["cost"], figures["allocate"], figures["xid_to_list_and_watch"]
    assert f"| CPU | {100 * cost['cpu_ratio']:.2f} % of one core | 1 % |" in page
    assert f"| resident memory | {cost['rss_mib']:.0f} MiB | 80 MiB |" in page
    assert f"| writes on the Node | {cost['node_writes']} in {cost['seconds']:.0f} s | one a minute |" in page
    assert re.search(rf"\| Allocate at 4,512 devices \| p50 {1000 * allocate['p50_s']:.1f} ms", page)
    assert f"p50 {1000 * xid['p50_s']:.0f} ms, max {1000 * xid['max_s']:.0f} ms | 1 s |" in page
    assert (cost["cpu_ratio"] < 0.01, cost["rss_mib"] < 80, xid["max_s"] < 1) == (True, True, True)
    assert cost["node_writes"] <= cost["seconds"] / 60
