"""kubectl gpupack as it is typed: where it looks, what it says, and with which code it ends."""

import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from click import Context
from click.testing import CliRunner

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from extender.contract.names import Names
from extender.kubectl.cli import COMMANDS, main
from extender.kubectl.cluster.session import Session
from extender.kubectl.commands.cordon import change
from extender.kubectl.options import Options, Output
from extender.kubectl.running import wants_colour
from tests.extender.kubectl.conftest import Run
from tests.fakes.api_server import refusing_port

T4 = GpuSpec("Tesla T4", 15360, 1)
CORDON = "gpupack.io/cordon"


def plant(client: ClusterClient, name: str, *specs: GpuSpec) -> None:
    """A node in the API only."""
    client.create_node(MachineSpec(name, specs).hollow_node_object(Names()))


def annotation(client: ClusterClient, node: str) -> str | None:
    """What is written about cordons there."""
    found = client.node(node)
    assert found is not None
    text: str | None = (found["metadata"].get("annotations") or {}).get(CORDON)
    return text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_list_of_commands_shows_each_first_sentence_in_full(name: str) -> None:
    """Click cuts it at 45 characters."""
    command = main.get_command(Context(main), name)
    assert command is not None
    assert command.help is not None
    sentence = command.help.partition(".\n")[0].removesuffix(".") + "."
    assert (command.get_short_help_str(), len(sentence) <= 45) == (sentence, True)


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"migrate"}))
def test_every_command_that_asks_a_cluster_has_the_options_that_all_share(name: str) -> None:
    """And help for them."""
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert all(
        option in result.output for option in ("--kubeconfig", "--context", "--namespace", "--output", "--watch")
    )


def test_an_unknown_command_is_wrong_usage() -> None:
    """As is a wrong option."""
    assert CliRunner().invoke(main, ["tops"]).exit_code == 2
    assert CliRunner().invoke(main, ["top", "-o", "xml"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["top", "--kubeconfig", "/nowhere"], 2, "kubeconfig /nowhere: no such file"),
        (["top", "--context", "other"], 2, "other"),
        (["top", "-n", "a", "-A"], 2, "--namespace a and --all-namespaces: expected one of them"),
        (["top", "--extender", "localhost:1"], 2, "--extender 'localhost:1': expected a URL"),
        (["top", "--model", ","], 2, "expected patterns such as A100*"),
        (["top", "--prefix", "No Prefix"], 2, "prefix 'No Prefix': expected a DNS subdomain"),
        (["explain", "nothing"], 1, 'no pod or workload named "nothing" in namespace default'),
        (["explain", "pod/nothing"], 1, "pod default/nothing: not found"),
        (["explain", "service/web"], 2, "expected POD, or one of pod/NAME, deployment/NAME"),
        (["cordon", "n9/0"], 1, "no node 'n9' with GPUs"),
        (["cordon", "n9/0", "--watch"], 2, "--watch: cordon and uncordon run once"),
        (["cordon"], 2, "Missing argument"),
    ],
)
def test_failures_are_one_clear_line_and_a_code(kubectl: Run, arguments: list[str], code: int, words: str) -> None:
    """1 the answer is no, 2 wrong usage."""
    result = kubectl(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_an_api_server_that_is_not_there_is_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts can tell it from a no."""
    with refusing_port() as port:
        not_there(f"http://127.0.0.1:{port}", tmp_path, monkeypatch)


def not_there(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask at an address where nobody listens."""
    cluster = {"server": server}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(content))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    result = CliRunner().invoke(main, ["top", "--kubeconfig", str(file)])
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: API server can't be reached: GET /api/v1/pods: ")
    result = CliRunner().invoke(main, ["top", "--kubeconfig", str(file), "--extender", server])
    assert result.exit_code == 3


def test_a_refusal_is_3_and_says_what(simulated: ApiServer, kubectl: Run) -> None:
    """Whoever may not list pods of the whole cluster cannot be told of its GPUs."""
    simulated.inject(Fault(method="GET", path="/api/v1/pods", status=403))
    result = kubectl("top")
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: /api/v1/pods: not allowed: ")


def test_the_namespace_is_the_contexts_unless_given(
    client: ClusterClient, kubectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with kubectl; of several kubeconfig files the first that names something wins."""
    plant(client, "n1", T4)
    for namespace in ("team", "default"):
        if namespace != "default":
            client.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        client.create_pod(gpu_pod(f"in-{namespace}", {"gpupack.io/gpu-mem": 4}), namespace)
    written = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    written["contexts"][0]["context"]["namespace"] = "team"
    file = tmp_path / "of-the-team"
    file.write_text(yaml.safe_dump(written))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "absent"), str(file)]))
    names = [[pod["name"] for pod in json.loads(kubectl("pods", "-o", "json", *more).stdout)] for more in ([], ["-A"])]
    assert names == [["in-team"], ["in-default", "in-team"]]
    assert "in-default" in kubectl("pods", "-n", "default").stdout


def test_cordons_are_written_once_and_taken_back(client: ClusterClient, kubectl: Run) -> None:
    """Other cordons of the node stay; nothing is written without need."""
    plant(client, "n1", T4, T4, T4)
    assert kubectl("cordon", "n1/0", "GPU-n1-2").exit_code == 0
    assert annotation(client, "n1") == "GPU-n1-0,GPU-n1-2"
    before = client.node("n1")
    assert "already cordoned" in kubectl("cordon", "n1/2").stdout
    assert "would be uncordoned" in kubectl("uncordon", "n1/0", "--dry-run").stdout
    assert client.node("n1") == before
    answer = json.loads(kubectl("uncordon", "n1/0", "n1/1", "-o", "json").stdout)
    assert [(each["gpu"], each["changed"]) for each in answer] == [(0, True), (1, False)]
    assert annotation(client, "n1") == "GPU-n1-2"
    kubectl("uncordon", "n1/2")
    assert annotation(client, "n1") is None


def test_the_uuid_of_a_gpu_brings_back_all_of_its_mig_devices(client: ClusterClient, kubectl: Run) -> None:
    """However each was cordoned; those of other GPUs stay."""
    plant(client, "n1", GpuSpec("A100", 81920, mig=("3g.40gb", "1g.10gb", "1g.10gb")), T4)
    kubectl("cordon", "n1/0:0", "n1/0:2", "n1/1")
    for words, left in ((["n1/0:1"], "GPU-n1-1,MIG-n1-0-0,MIG-n1-0-2"), (["GPU-n1-0"], "GPU-n1-1")):
        kubectl("cordon", *words)
        result = kubectl("uncordon", *words)
        assert (result.exit_code, "already" in result.stdout, annotation(client, "n1")) == (0, False, left)
    assert "already uncordoned" in kubectl("uncordon", "GPU-n1-0").stdout
    kubectl("cordon", "n1/0:0")
    assert "would be uncordoned" in kubectl("uncordon", "GPU-n1-0", "--dry-run").stdout
    assert [each["changed"] for each in json.loads(kubectl("uncordon", "GPU-n1-0", "-o", "json").stdout)] == [True]
    assert annotation(client, "n1") == "GPU-n1-1"


def test_a_cordon_that_somebody_else_writes_meanwhile_is_kept(
    simulated: ApiServer, client: ClusterClient, kubectl: Run
) -> None:
    """The write is refused as a conflict, read again, and made anew."""
    plant(client, "n1", T4, T4)
    client.patch_node("n1", {"metadata": {"annotations": {CORDON: "GPU-n1-1"}}})
    simulated.inject(Fault(method="PATCH", path="/api/v1/nodes/n1", times=2, status=409))
    assert kubectl("cordon", "n1/0").exit_code == 0
    assert annotation(client, "n1") == "GPU-n1-0,GPU-n1-1"


def test_cordons_that_are_written_at_once_all_stay(simulated: ApiServer, client: ClusterClient) -> None:
    """Four people, four GPUs of one node."""
    plant(client, "n1", *([T4] * 4))

    def cordon(index: int) -> None:
        session = Session(Options(kubeconfig=os.environ["KUBECONFIG"]))
        change(session, [f"n1/{index}"], cordoned=True)
        session.close()

    with ThreadPoolExecutor(4) as people:
        list(people.map(cordon, range(4)))
    assert annotation(client, "n1") == "GPU-n1-0,GPU-n1-1,GPU-n1-2,GPU-n1-3"
    assert sum(request.startswith("PATCH /api/v1/nodes/n1") for request in simulated.requests()) >= 4


def test_a_cordon_that_cannot_be_read_is_not_overwritten(client: ClusterClient, kubectl: Run) -> None:
    """It says what to do first."""
    plant(client, "n1", T4)
    client.patch_node("n1", {"metadata": {"annotations": {CORDON: "GPU 0"}}})
    result = kubectl("cordon", "n1/0")
    assert result.exit_code == 1
    assert f"correct or remove the annotation {CORDON} first" in result.stderr
    assert annotation(client, "n1") == "GPU 0"


def test_watch_shows_it_again_and_again(
    client: ClusterClient, simulated: ApiServer, kubectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until Ctrl-C, which is no failure; a failure on the way is shown and lived through."""
    plant(client, "n1", T4)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            simulated.inject(Fault(path="/api/v1/pods", status=503))
        elif len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", pause)
    result = kubectl("top", "--watch", "--interval", "7", "--no-used")
    assert (result.exit_code, pauses) == (0, [7.0, 7.0, 7.0])
    assert result.stdout.count("1 GPU on 1 node") == 2
    assert result.stdout.count("/api/v1/pods: 503") == 1


def test_a_watch_that_never_works_ends_with_its_failure(simulated: ApiServer, kubectl: Run) -> None:
    """Nobody waits for what will hardly come."""
    simulated.inject(Fault(path="/api/v1/pods", status=403))
    assert kubectl("top", "--watch").exit_code == 3


class Terminal(io.StringIO):
    """Standard output as a person's."""

    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or on request; never in JSON and YAML."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Options(), Terminal())
    assert not wants_colour(Options(), io.StringIO())
    assert not wants_colour(Options(color="never"), Terminal())
    assert not wants_colour(Options(output=Output.JSON, color="always"), Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Options(), Terminal())
    assert wants_colour(Options(color="always"), io.StringIO())


def test_mig_devices_are_cordoned_alone_or_with_their_gpu(client: ClusterClient, kubectl: Run) -> None:
    """What is out with its GPU does not come back alone."""
    client.create_node(
        MachineSpec("n1", (GpuSpec(T4.model, T4.memory_mib, mig=("1g.5gb",) * 2),)).hollow_node_object(Names())
    )
    assert kubectl("cordon", "n1/0").exit_code == 2
    answer = json.loads(kubectl("cordon", "n1/0:1", "-o", "json").stdout)
    assert [(each["gpu"], each["place"], each["uuid"]) for each in answer] == [(0, "0:1", "MIG-n1-0-1")]
    assert kubectl("cordon", "GPU-n1-0").exit_code == 0
    assert annotation(client, "n1") == "GPU-n1-0,MIG-n1-0-1"
    refused = kubectl("uncordon", "n1/0:1")
    assert (refused.exit_code, "kubectl gpupack uncordon GPU-n1-0" in refused.stderr) == (1, True)
    assert kubectl("uncordon", "n1/0:1", "GPU-n1-0").exit_code == 0
    assert annotation(client, "n1") is None
