"""`size-advice` compares what is asked with what was used, and says "unknown" where nobody measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from extender.kubectl.cli import main
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.commands.size_advice import size_advice
from extender.kubectl.options import Output
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.writing import written
from tests.extender.kubectl.placed import node, placed, pod, uuid, view


def _view() -> ClusterView:
    nodes = [node(f"n{at}", 16) for at in range(4)]
    pods = [placed(f"llm-{at}", 9, f"n{at}", deployment="llm") for at in range(4)]
    return view(nodes, [*pods, placed("solo", 2, "n0", namespace="ml")])


def _document(answer: Answer) -> Any:
    return answer.document


PEAKS = {("default", f"llm-{at}"): {uuid(f"n{at}", 0): 6000.0 + at} for at in range(3)}


def test_a_workload_that_could_share_a_gpu_is_told_so() -> None:
    """The largest peak of those known counts, with headroom; twice 7 and the other's 2 fill a GPU."""
    answer = size_advice(_view(), PEAKS, {"n3": "no answer"}, headroom=0.1)
    told = {one["workload"]: one for one in _document(answer)["workloads"]}
    llm = told["Deployment/llm"]
    assert (llm["peakMib"], llm["known"], llm["gpus"], llm["leastUnits"]) == (6002.0, 3, 4, 7)
    assert (llm["betterUnits"], round(llm["gpusSaved"], 3)) == (7, 2.0)
    assert (told["Pod/solo"]["verdict"], told["Pod/solo"]["betterUnits"]) == ("unknown", None)
    text = written(answer, Output.TABLE, colour=False)
    assert "use unknown on n3: no answer" in text
    assert "5.86Gi" in text
    assert "Running pods need at least 4.0 GPUs; 2.0 with 1 better size." in text


def test_a_namespace_is_shown_alone_and_judged_among_all() -> None:
    """The others still fill the GPUs."""
    answer = size_advice(_view(), PEAKS, {}, namespace="ml")
    told = _document(answer)
    assert ([one["workload"] for one in told["workloads"]], told["neededGpus"]) == (["Pod/solo"], 4.0)
    unmeasured = written(size_advice(_view(), {}, {}), Output.TABLE, colour=False)
    assert "Running pods need at least 4.0 GPUs. No better size found." in unmeasured


def test_pods_of_unknown_place_are_counted_and_left_out() -> None:
    """Bound by hand, say."""
    here = view([node("n0", 16)], [pod("hand", 4, node="n0", status={"phase": "Running"})])
    told = _document(size_advice(here, {}, {}))
    assert (told["workloads"], told["notes"]) == ([], ["1 pod left out: it is not known which GPUs they hold"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("up 1\n", "has no gpupack_container_gpu_memory_used_peak_bytes"),
        ("{ not a metric", "--metrics"),
    ],
)
def test_a_file_that_holds_no_peaks_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Before the cluster is asked; exit code 2."""
    file = tmp_path / "metrics.txt"
    file.write_text(text)
    result = CliRunner().invoke(main, ["size-advice", "--metrics", str(file), "--kubeconfig", str(file)])
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_the_sizes_of_a_trace_are_judged_without_a_cluster(tmp_path: Path) -> None:
    """No two of 510 fit on one GPU, two of 500 do: 100 pods need 50 GPUs less."""
    trace = tmp_path / "pods.csv"
    trace.write_text("name,num_gpu,gpu_milli\n" + "a,1,510\n" * 100)
    words = ["size-advice", "--kubeconfig", str(tmp_path / "none"), "--trace", str(trace)]
    told = json.loads(CliRunner().invoke(main, [*words, "-o", "json"]).output)
    assert (told["asked_gpus"], told["needed_gpus"], told["needed_gpus_after"]) == (51.0, 100.0, 50.0)
    assert [(one["size"], one["smaller"], one["gpus_saved"]) for one in told["sizes"]] == [(510, 500, 50.0)]
    text = CliRunner().invoke(main, words).output
    assert "pods.csv: pods ask for 51.0 GPUs and need at least 100.0" in text
    assert "All changes together: at least 50.0 GPUs needed, 50.0 fewer" in text
