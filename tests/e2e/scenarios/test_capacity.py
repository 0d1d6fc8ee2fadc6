"""What kubectl gpupack foretells is what then happens: simulated pods, drained nodes, sizes and costs."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main as bench
from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.allocation import parse_allocation
from extender.kubectl.cli import main as kubectl_gpupack
from tests.docs.pages import REPOSITORY, commands, fences
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, NAMES, WHOLE, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]
Json = dict[str, Any]
PAGE = REPOSITORY / "docs" / "capacity.md"
POLICY = ["--policy", "binpack"]
"""The learned policies depend on when they have last learned, so that only a fixed one can be foretold GPU by GPU."""

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: llm}}
    spec:
      nodeSelector: {zone: a}
      containers:
        - name: main
          image: simulated
          resources: {limits: {gpupack.io/gpu-mem: 30, cpu: 4}}
"""


def _cluster(start: Start, *specs: MachineSpec) -> Environment:
    environment = start(extender_arguments=("--policy", "binpack"))
    for spec in specs:
        environment.add_hollow_node(spec)
    wait_until(lambda: len(environment.extender_nodes()) == len(specs), "the extender to know the nodes")
    environment.wait_scheduler_knows_nodes()
    return environment


def _ask(environment: Environment, *words: str, exit_code: int = 0) -> Json:
    access = ["--kubeconfig", str(environment.backend.admin), "-o", "json"]
    result = CliRunner().invoke(kubectl_gpupack, [*words, *access])
    assert result.exit_code == exit_code, result.output
    answer: Json = json.loads(result.output)
    return answer


def _gpus_of(pod: Json) -> list[str]:
    allocation = parse_allocation(pod["metadata"]["annotations"][NAMES.allocation_annotation])
    return sorted(uuid for gpus in allocation.containers.values() for uuid in gpus)


def test_simulated_pods_go_where_real_ones_then_go(start: Start, tmp_path: Path) -> None:
    """GPU by GPU, up to the last that fits; the next one waits for the reason foretold."""
    zone = {"zone": "a"}
    environment = _cluster(
        start,
        MachineSpec("n1", gpus(a100=2), labels=zone),
        MachineSpec("n2", gpus(a100=1, t4=1), labels=zone, cpu=10),
        MachineSpec("n3", gpus(a100=2)),
    )
    environment.client.create_pod(gpu_pod("old", {MEMORY: 25}, nodeSelector=zone))
    environment.wait_bound("old")
    manifest = tmp_path / "llm.yaml"
    manifest.write_text(MANIFEST)
    told = _ask(environment, "simulate", "-f", str(manifest), "--copies", "4", *POLICY, exit_code=1)
    placements = [(one["node"], [gpu["uuid"] for gpu in one["gpus"]]) for one in told["placements"]]
    assert (told["fits"], told["atMost"], len(placements)) == (False, 2, 5)
    for number, (node, uuids) in enumerate(placements):
        name = f"llm-{number}"
        environment.client.create_pod(gpu_pod(name, {MEMORY: 30, "cpu": 4}, nodeSelector=zone))
        pod = environment.wait_bound(name)
        assert (pod["spec"]["nodeName"], _gpus_of(pod)) == (node, uuids)
    environment.client.create_pod(gpu_pod("one-more", {MEMORY: 30, "cpu": 4}, nodeSelector=zone))
    environment.wait_refused("one-more", "node affinity/selector")
    assert told["ended"]["bottleneck"] in ("GPU memory", "fragmentation of GPU memory")


def test_bare_pods_keep_their_nodes_and_idle_nodes_are_named(start: Start) -> None:
    """Nobody would make them anew; one that is made anew by hand goes beside the other."""
    environment = _cluster(start, MachineSpec("n1", gpus(a100=1)), MachineSpec("n2", gpus(a100=1)))
    for name, node, units in (("small", "n1", 20), ("large", "n2", 50)):
        environment.client.create_pod(gpu_pod(name, {MEMORY: units}, nodeSelector={"kubernetes.io/hostname": node}))
        environment.wait_bound(name)
    told = _ask(environment, "drain-advice", *POLICY)
    assert [(one["node"], one["why"].split(":")[0]) for one in told["kept"]] == [("n1", "bare pod"), ("n2", "bare pod")]
    environment.client.delete_pod("small", grace_s=0)
    environment.client.wait_gone("small")
    environment.client.create_pod(gpu_pod("small", {MEMORY: 20}))
    assert environment.wait_bound("small")["spec"]["nodeName"] == "n2"
    assert [one["node"] for one in _ask(environment, "drain-advice", *POLICY)["idle"]] == ["n1"]


def test_moves_are_those_that_then_happen(start: Start) -> None:
    """The first pod sits alone on n1; made anew after n1 is cordoned, it gets the GPU foretold, and n1 idles."""
    environment = _cluster(start, MachineSpec("n1", gpus(a100=1)))
    environment.client.create_pod(gpu_pod("mover", {MEMORY: 20}))
    environment.wait_bound("mover")
    environment.add_hollow_node(MachineSpec("n2", gpus(t4=1, a100=1)))
    environment.client.create_pod(gpu_pod("large", {MEMORY: 50}, nodeSelector={"kubernetes.io/hostname": "n2"}))
    environment.wait_bound("large")
    told = _ask(environment, "drain-advice", "--force", *POLICY)
    assert [one["node"] for one in told["drainable"]] == ["n1"]
    (move,) = told["drainable"][0]["moves"]
    environment.client.patch_node("n1", {"spec": {"unschedulable": True}})
    environment.client.delete_pod("mover", grace_s=0)
    environment.client.wait_gone("mover")
    environment.client.create_pod(gpu_pod("mover", {MEMORY: 20}))
    pod = environment.wait_bound("mover")
    assert (pod["spec"]["nodeName"], _gpus_of(pod)) == (move["to"], [gpu["uuid"] for gpu in move["gpus"]])
    assert [one["node"] for one in _ask(environment, "drain-advice", *POLICY)["idle"]] == ["n1"]


def test_sizes_and_costs_are_of_the_pods_that_run(start: Start, tmp_path: Path) -> None:
    """The figures of bench cost and kubectl gpupack cost agree; nobody knows what most pods use."""
    environment = _cluster(start, MachineSpec("n1", gpus(a100=2)), MachineSpec("n2", gpus(a100=2)))
    for number in range(2):
        environment.client.create_pod(gpu_pod(f"half-{number}", {MEMORY: 41}))
        environment.wait_bound(f"half-{number}")
    environment.client.create_pod(gpu_pod("whole", {WHOLE: 1}))
    (whole,) = _gpus_of(environment.wait_bound("whole"))
    metrics = tmp_path / "metrics.txt"
    gpu = f'gpu="0",UUID="{whole}",modelName="A100",GPU_I_ID="",GPU_I_PROFILE=""'
    labels = f'{gpu},namespace="default",pod="whole",container="main"'
    metrics.write_text(f"gpupack_container_gpu_memory_used_peak_bytes{{{labels}}} {9 << 30}\n")
    advice = _ask(environment, "size-advice", "-A", "--metrics", str(metrics))
    verdicts = {one["workload"]: (one["verdict"], one["betterUnits"]) for one in advice["workloads"]}
    assert verdicts["Pod/half-0"] == ("unknown", None)
    assert verdicts["Pod/whole"][0] == "too large"
    cost = _ask(environment, "cost", *POLICY)
    now = cost["scenarios"]["as it is"]
    assert (now["pods"], round(now["held_gpus"], 3), now["nodes_in_use"]) == (3, 2.025, 2)
    out = tmp_path / "cost.json"
    words = ["cost", "--kubeconfig", str(environment.backend.admin), "--gpu-resource", WHOLE, "--policy", "binpack"]
    result = CliRunner().invoke(bench, [*words, "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["scenarios"] == cost["scenarios"]


def test_the_commands_of_the_page_work_and_say_what_it_shows(start: Start, tmp_path: Path) -> None:
    """All of docs/capacity.md, on a node with two A100; its price table is one."""
    environment = _cluster(start, MachineSpec("gpu-1", gpus(a100=2)))
    access = ["--kubeconfig", str(environment.backend.admin)]
    said = ""
    for command in commands(PAGE):
        program, plugin, *words = command.text.split()
        assert (program, plugin) == ("kubectl", "gpupack")
        paths = [str(REPOSITORY / word) if word.startswith("manifests/") else word for word in words]
        result = CliRunner().invoke(kubectl_gpupack, [*paths, *access])
        assert result.exit_code == 0, result.output
        said += result.output
    shown = {fence.language: fence.text for fence in fences(PAGE)}
    lines = iter(said.splitlines())
    assert [line for line in shown[""].splitlines() if line not in lines] == []
    prices = tmp_path / "prices.yaml"
    prices.write_text(shown["yaml"])
    environment.client.create_pod(gpu_pod("whole", {WHOLE: 1}))
    environment.wait_bound("whole")
    told = _ask(environment, "cost", "--prices", str(prices))
    assert told["scenarios"]["as it is"]["usd_per_hour"] == 2.0
