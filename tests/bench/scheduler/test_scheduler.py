"""The benchmark with the real kube-scheduler: its stub answers what kube-scheduler needs, and the whole runs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.latency.driving import Caller
from bench.latency.load import bind_body, filter_body
from bench.scheduler.command import command
from bench.scheduler.contenders import CONTENDERS, running
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.specs import gpu_pod


def test_the_stub_passes_scores_and_binds(tmp_path: Path) -> None:
    """It keeps the first names, finds them all alike, and writes the Binding."""
    with ApiServer() as server:
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        client = ClusterClient.from_kubeconfig(kubeconfig)
        pod = client.create_pod(gpu_pod("train", {"gpupack.io/gpu-mem": 8}))
        contender = next(each for each in CONTENDERS if each.keep == 1)
        with running(contender, kubeconfig, tmp_path, 100) as configuration:
            url = configuration["extenders"][0]["urlPrefix"]
            caller = Caller("127.0.0.1", int(url.rpartition(":")[2]))
            asked = filter_body(pod, ["a", "b"])
            assert json.loads(caller.post("filter", asked)[1]) == {"NodeNames": ["a"], "Error": ""}
            assert [score["Host"] for score in json.loads(caller.post("prioritize", asked)[1])] == ["a", "b"]
            assert json.loads(caller.post("bind", bind_body(pod, "a"))[1]) == {"Error": ""}
            assert json.loads(caller.post("bind", bind_body(pod, "a"))[1])["Error"]
            caller.close()
        client.close()


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_contenders_are_measured_in_turn(tmp_path: Path) -> None:
    """On a few nodes, once each."""
    out = tmp_path / "report.json"
    arguments = ["--nodes", "5", "--pods", "20", "--rounds", "1", "--only", "none,exact", "--json", str(out)]
    result = CliRunner().invoke(command, arguments)
    if "make kubernetes" in result.output:
        pytest.skip(result.output.strip())
    assert result.exit_code == 0, result.output
    rates = json.loads(out.read_text())["nodes"]["5"]
    assert sorted(rates) == ["exact", "none"]
    assert all(rate > 0 for runs in rates.values() for rate in runs)


def test_an_unknown_contender_is_refused() -> None:
    """With those that there are; or there are no Kubernetes programs."""
    result = CliRunner().invoke(command, ["--only", "fastest"])
    assert result.exit_code == 1
    assert "expected some of none, stub-one, exact" in result.output or "make kubernetes" in result.output
