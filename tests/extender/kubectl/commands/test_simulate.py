"""`simulate` answers from the objects of the cluster, in words, in a document and by its exit code."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.specs import GpuSpec, MachineSpec
from extender.capacity.simulating import Wanted
from extender.contract.names import Names
from extender.kubectl.cli import main
from extender.kubectl.cluster.manifests import Manifest
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.commands.simulate import simulated
from extender.kubectl.options import Output
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.writing import written
from tests.extender.kubectl.placed import node, placed, pod, uuid, view
from tests.extender.objects import mixed_node
from tests.extender.scheduling.builders import shares

LLM = Manifest((Wanted("Deployment/llm", shares(6)),))


def _document(answer: Answer) -> Any:
    return answer.document


def _asked(here: ClusterView, copies: int, **options: Any) -> Answer:
    return simulated(here, LLM, copies, policy="binpack", **options)


def test_what_fits_says_where_and_how_many_more() -> None:
    """Exit code 0."""
    here = view([node("n1", 16), node("n2", 16)], [placed("old", 4, "n1")])
    answer = _asked(here, 3)
    told = _document(answer)
    assert (answer.exit_code, told["fits"], told["atMost"], told["ended"]["bottleneck"]) == (
        0,
        True,
        4,
        "GPU memory",
    )
    assert [(one["node"], one["gpus"][0]["uuid"], one["gpus"][0]["units"]) for one in told["placements"]] == [
        ("n1", uuid("n1", 0), 6),
        ("n1", uuid("n1", 0), 6),
        ("n2", uuid("n2", 0), 6),
    ]
    text = written(answer, Output.TABLE, colour=False)
    assert "3 copies fit; at most 4 would.\nBottleneck: GPU memory, for Deployment/llm.\n" in text


def test_what_does_not_fit_ends_with_exit_code_1() -> None:
    """And the reasons of all nodes."""
    answer = _asked(view([node("n1", 16), node("n2", 4)]), 40)
    told = _document(answer)
    assert (answer.exit_code, told["fits"], told["atMost"], told["pods"][0]["placed"]) == (1, False, 2, 2)
    assert told["pods"][0]["refused"]["nodes"] == {
        "not enough free GPU memory": 1,
        "request is larger than the GPUs of the node": 1,
    }
    assert "2 of 40 copies fit completely." in written(answer, Output.TABLE, colour=False)


def test_pods_that_wait_may_come_first() -> None:
    """They are mentioned, or placed before."""
    here = view([node("n1", 16)], [pod("waiting", 10)])
    assert _document(_asked(here, 2))["notes"] == [
        "1 pod waits for GPUs and may be placed first: use --after-waiting to include them"
    ]
    told = _document(_asked(here, 2, after_waiting=True))
    assert (told["atMost"], told["notes"]) == (1, ["1 of 1 pod that waits for GPUs were placed first"])


def test_taints_of_the_objects_count() -> None:
    """As kube-scheduler would."""
    tainted = {**node("n1", 16), "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}
    told = _document(_asked(view([tainted]), 1))
    assert (told["fits"], told["ended"]["bottleneck"]) == (False, "taints")


def test_the_policy_is_the_one_that_the_extender_runs_with() -> None:
    """By its pod's arguments, unless told."""
    extender = pod("scheduler", containers=[{"name": "extender", "args": ["--policy=spread"]}])
    extender["metadata"]["labels"] = {"app.kubernetes.io/name": "gpupack"}
    here = view([node("n1", 16)], [extender])
    told = _document(simulated(here, LLM, 1))
    assert (told["policy"], told["policyFrom"]) == ("spread", "arguments of pod default/scheduler")
    assert _document(_asked(here, 1))["policyFrom"] == "--policy"
    assert _document(simulated(view([node("n1", 16)]), LLM, 1))["policyFrom"] == "default"


def test_many_nodes_are_not_all_shown_to_people() -> None:
    """The document has them all."""
    here = view([node(f"n{at}", 8) for at in range(25)])
    answer = _asked(here, 25)
    assert len({one["node"] for one in _document(answer)["placements"]}) == 25
    assert "and 5 more nodes: see -o json" in written(answer, Output.TABLE, colour=False)


def test_pods_per_gpu_are_not_taken_for_a_mig_device() -> None:
    """`0:4` would be MIG device 4 of GPU 0."""
    many = written(_asked(view([node("n1", 16, 16)]), 3), Output.TABLE, colour=False)
    assert "  2 on 0, 1 on 1  " in many
    split = written(_asked(view([mixed_node("n3")], [placed("a", 80, "n3")]), 3), Output.TABLE, colour=False)
    assert "  1 on 1:0, 1 on 1:1, 1 on 1:2  " in split


def test_what_cannot_be_read_is_said() -> None:
    """A node that is none is left out."""
    here = view([node("n1", 16)])
    broken = view([node("n1", 16), {"metadata": {"name": 3}}])
    assert len(_document(_asked(broken, 1))["notes"]) > len(_document(_asked(here, 1))["notes"])


def test_the_exit_code_says_what_a_script_must_know(tmp_path: Path) -> None:
    """0 fits, 1 does not, 2 no manifest, 3 no answer; from a file or from standard input."""
    container = "{name: a, resources: {limits: {gpupack.io/gpu-mem: 9}}}"
    body = f"{{kind: Pod, metadata: {{name: x}}, spec: {{containers: [{container}]}}}}"
    file = tmp_path / "pod.yaml"
    file.write_text(body)
    with ApiServer() as server:
        access = ["--kubeconfig", str(server.write_kubeconfig(tmp_path / "kubeconfig"))]
        client = ClusterClient.from_kubeconfig(tmp_path / "kubeconfig")
        client.create_node(MachineSpec("n1", (GpuSpec("Tesla T4", 15360, 2),)).hollow_node_object(Names()))
        client.close()

        def exit_code(*words: str, given: str = "") -> int:
            return CliRunner().invoke(main, ["simulate", *words, *access], input=given).exit_code

        codes = [
            exit_code("-f", str(file), "--copies", "2"),
            exit_code("-f", "-", given=body),
            exit_code("-f", str(file), "--copies", "3"),
            exit_code("-f", "-", given="kind: 3"),
            exit_code("-f", str(tmp_path / "none.yaml")),
        ]
    assert codes == [0, 0, 1, 2, 2]
    assert CliRunner().invoke(main, ["simulate", "-f", str(file), *access]).exit_code == 3
