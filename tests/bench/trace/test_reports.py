"""`python -m bench cost` and `advice` report on the shipped example, a cluster and a trace."""

import json
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from extender.contract.allocation import Allocation
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, Units

EXAMPLE = Path(str(resources.files("bench").joinpath("trace", "example")))


def test_the_example_is_cheaper_when_its_pods_share_gpus(tmp_path: Path) -> None:
    """Every pod is placed, on fewer GPUs; the sums agree with each other."""
    words = ["--dump", str(EXAMPLE / "cluster.json"), "--usage", str(EXAMPLE / "usage.csv")]
    result = CliRunner().invoke(main, ["cost", *words, "--json", str(tmp_path / "cost.json")])
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "cost.json").read_text())
    now, ours = told["scenarios"]["as it is"], told["scenarios"]["gpupack"]
    assert (now["pods"], ours["pods"], ours["unplaced"]) == (22, 22, 0)
    assert ours["gpus_in_use"] < now["gpus_in_use"]
    assert ours["usd_per_hour"] < now["usd_per_hour"]
    assert told["drainable_nodes"] == now["nodes_in_use"] - ours["nodes_in_use"]
    held = sum(bill["gpus"] for bill in ours["namespaces"].values())
    assert held == pytest.approx(ours["held_gpus"])
    assert sum(bill["gpus"] for bill in ours["workloads"].values()) == pytest.approx(held)


def test_without_usage_a_whole_gpu_stays_a_whole_gpu() -> None:
    """Nothing is guessed: as it is and packed hold the same."""
    result = CliRunner().invoke(main, ["cost", "--dump", str(EXAMPLE / "cluster.json")])
    held = [line.split()[-5] for line in result.output.splitlines() if line.startswith(("as it is", "gpupack "))][:2]
    assert (result.exit_code, held) == (0, ["23.0", "23.0"])


def test_a_trace_is_packed_up_to_the_demand_asked_for(tmp_path: Path) -> None:
    """Whole GPUs run out where shares do not."""
    assert CliRunner().invoke(main, ["trace", "--nodes", "10", "--out", str(tmp_path)]).exit_code == 0
    words = ["--nodes", str(tmp_path / "nodes.csv"), "--pods", str(tmp_path / "pods.csv"), "--demand", "70"]
    result = CliRunner().invoke(main, ["cost", *words, "--json", str(tmp_path / "cost.json")])
    assert result.exit_code == 0, result.output
    scenarios = json.loads((tmp_path / "cost.json").read_text())["scenarios"]
    assert list(scenarios) == ["whole GPUs", "gpushare", "gpupack"]
    assert scenarios["gpupack"]["unplaced"] < scenarios["whole GPUs"]["unplaced"]


def test_a_live_cluster_is_read_through_its_api_server(tmp_path: Path) -> None:
    """Two pods on a GPU each, which fit on one; a pod without GPUs is none of them."""
    names = Names()
    with ApiServer() as server:
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        client = ClusterClient.from_kubeconfig(kubeconfig)
        for node in ("n1", "n2"):
            client.create_node(MachineSpec(node, (GpuSpec("Tesla T4", 15360, 1),)).hollow_node_object(names))
            client.create_pod(gpu_pod(node, {names.memory_resource: 6}))
            plan = Allocation(DEFAULT_UNIT_MIB, {"main": {GpuUuid(f"GPU-{node}-0"): Units(6)}})
            client.bind_pod(node, node, annotations={names.allocation_annotation: plan.to_json()})
        client.create_pod(gpu_pod("web", {"cpu": 1}))
        client.close()
        words = ["--kubeconfig", str(kubeconfig), "--policy", "binpack", "--json", str(tmp_path / "cost.json")]
        result = CliRunner().invoke(main, ["cost", *words])
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "cost.json").read_text())
    now, ours = told["scenarios"]["as it is"], told["scenarios"]["gpupack"]
    assert (told["source"], told["nodes"], told["pods"], told["drainable_nodes"]) == ("live cluster", 2, 2, 1)
    assert (now["usd_per_hour"], ours["usd_per_hour"], round(now["held_gpus"], 3)) == (0.70, 0.35, 0.8)


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    """Not a traceback; nor is a file that is no kubeconfig."""
    with ApiServer() as server:
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
    gone = CliRunner().invoke(main, ["cost", "--kubeconfig", str(kubeconfig)])
    wrong = CliRunner().invoke(main, ["cost", "--kubeconfig", str(EXAMPLE / "usage.csv")])
    assert [(one.exit_code, one.output.startswith("Error: "), one.output.count("\n")) for one in (gone, wrong)] == [
        (1, True, 1),
        (1, True, 1),
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "expected one of --dump, --kubeconfig, or --nodes with --pods"),
        (["--nodes", str(EXAMPLE / "usage.csv")], 2, "expected one of"),
        (["--dump", str(EXAMPLE / "usage.csv")], 1, "kubectl get nodes,pods"),
        (["--dump", str(EXAMPLE / "cluster.json"), "--policy", "best"], 2, "policy 'best'"),
        (["--dump", str(EXAMPLE / "cluster.json"), "--usage", str(EXAMPLE / "cluster.json")], 1, "namespace,pod"),
    ],
)
def test_a_question_without_meaning_is_refused(words: list[str], code: int, message: str) -> None:
    """A sentence, never a traceback."""
    result = CliRunner().invoke(main, ["cost", *words])
    assert (result.exit_code, message in result.output) == (code, True), result.output
