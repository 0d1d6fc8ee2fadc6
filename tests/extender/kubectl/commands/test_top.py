"""`top` and `pods` as they are written, to the letter, and what scripts read of them."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extender.contract.units import GpuUuid
from extender.kubectl.cluster.usage import MeasuredUsage, NodeUsage
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.commands.pods import pods_answer
from extender.kubectl.options import Output
from extender.kubectl.output.gpu_rows import gpu_rows
from extender.kubectl.output.top_table import By, Sort, sum_of, top_answer
from extender.kubectl.output.writing import written
from extender.scheduling.pods.models import parse_models
from tests.extender.kubectl.views import offering, on, refused, view
from tests.extender.objects import Json, allocation, mixed_node, node, pod, uuid

A100 = "NVIDIA A100-SXM4-80GB"
GOLDEN = Path(__file__).parents[3] / "golden" / "kubectl"


def golden(name: str) -> str:
    """A table as it is to be."""
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def cluster() -> ClusterView:
    """Three nodes with GPUs in all states, one that lost its plugin, one without GPUs; pods on them and waiting."""
    ill = node(
        "gpu-2", 15, 15, unhealthy={uuid("gpu-2", 0), uuid("gpu-2", 1)}, annotations={"cordon": uuid("gpu-2", 1)}
    )
    inventory = json.loads(ill["metadata"]["annotations"]["gpupack.io/inventory"])
    inventory["gpus"][0]["reason"] = "XID 79"
    ill["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps(inventory)
    lost = offering(node("gpu-10", 80, model=A100), 0)
    labelled = node("new")
    labelled["metadata"]["labels"] = {"gpupack.io/gpu": "true"}
    pods = [
        on("llm", 60, uuid("gpu-1", 0), "gpu-1", policy="binpack"),
        on("notebook", 8, uuid("gpu-1", 0), "gpu-1"),
        on("trial-1", 2, uuid("gpu-1", 1), "gpu-1"),
        on("trial-2", 2, uuid("gpu-1", 1), "gpu-1"),
        on("trial-3", 2, uuid("gpu-1", 1), "gpu-1"),
        on("trial-10", 3, uuid("gpu-1", 1), "gpu-1"),
        refused(pod("waits", 78), "0/5 nodes are available: 1 not enough free GPU memory. preemption: 0/5 nodes ..."),
        pod("whole", gpus=2, schedulerName="gpupack-scheduler"),
        pod("odd", 4, annotations={"gpu-count": "two"}),
    ]
    return view([ill, lost, labelled, node("gpu-1", 80, 80, model=A100), node("cpu")], pods)


USED = MeasuredUsage(
    {
        "gpu-1": NodeUsage(
            {GpuUuid(uuid("gpu-1", 0)): 12_300.0, GpuUuid(uuid("gpu-1", 1)): 0.0},
            {("default", "llm"): {GpuUuid(uuid("gpu-1", 0)): 12_000.0}},
        )
    },
    {"gpu-2": "no running device plugin pod is there", "gpu-10": "not allowed: get pods/proxy"},
)


def table(by: By = By.AUTO, sort: Sort = Sort.NAME, output: Output = Output.TABLE, pattern: str = "") -> str:
    """What `top` writes of that cluster."""
    seen = cluster()
    rows = [row.with_usage(USED) for row in gpu_rows(seen, node_pattern=pattern)]
    return written(top_answer(seen, rows, by=by, sort=sort), output, colour=False)


def test_a_row_for_each_gpu() -> None:
    """Nodes by their numbers; one without GPUs is not shown, one that should have some is."""
    assert table() == golden("top")


def test_a_row_for_each_node_and_for_each_model() -> None:
    """What a thousand nodes are shown by."""
    assert table(By.NODE, Sort.FREE, pattern="gpu-*") == golden("top-by-node")
    assert table(By.MODEL) == golden("top-by-model")


def test_wide_says_why_use_is_not_known() -> None:
    """And has UUIDs, and how the unit is known."""
    assert table(output=Output.WIDE) == golden("top-wide")


def test_what_an_extender_holds_has_a_column_where_one_was_asked() -> None:
    """With the pods that it is for."""
    held = {"uuid": uuid("gpu-1", 1), "holders": [{"namespace": "team", "name": "new", "units": 20, "state": "held"}]}
    seen = cluster()
    rows = gpu_rows(seen, node_pattern="gpu-1", extender={"nodes": [{"gpus": [held]}]})
    lines = written(top_answer(seen, rows, by=By.GPU, sort=Sort.NAME), Output.TABLE, colour=False).splitlines()
    assert lines[0].split()[:7] == ["NODE", "GPU", "MODEL", "MEMORY", "ALLOCATED", "HELD", "USED"]
    assert [line.split()[5:8] for line in lines[1:3]] == [["68Gi", "0Gi", "-"], ["9Gi", "20Gi", "-"]]
    rows = gpu_rows(seen, node_pattern="gpu-1", models=parse_models("A100*"), extender={"nodes": [{"gpus": [held]}]})
    assert "team/new 20Gi (held)" in written(
        top_answer(seen, rows, by=By.GPU, sort=Sort.NAME), Output.WIDE, colour=False
    )


def test_models_are_chosen_as_pods_choose_them() -> None:
    """By the patterns of gpu-model; nodes that show no GPU are then left out."""
    rows = gpu_rows(cluster(), models=parse_models("!*A100*"))
    assert [row.node for row in rows] == ["gpu-2", "gpu-2"]


def test_the_largest_first() -> None:
    """By what is allocated, free or used."""
    seen = cluster()
    rows = [row.with_usage(USED) for row in gpu_rows(seen, node_pattern="gpu-*")]

    def order(sort: Sort) -> list[str]:
        lines = written(top_answer(seen, rows, by=By.GPU, sort=sort), Output.TABLE, colour=False).splitlines()[1:4]
        return [" ".join(line.split()[:2]) for line in lines]

    assert order(Sort.ALLOCATED)[:2] == ["gpu-1 0", "gpu-1 1"]
    assert order(Sort.FREE)[:2] == ["gpu-1 1", "gpu-1 0"]
    assert order(Sort.USED)[0] == "gpu-1 0"


def test_large_clusters_are_summed_up_by_themselves() -> None:
    """GPUs up to 50 nodes, then nodes, then models."""
    heads = []
    for count in (50, 51, 501):
        seen = view([node(f"n{at}", 16) for at in range(count)])
        answer = top_answer(seen, gpu_rows(seen), by=By.AUTO, sort=Sort.NAME)
        heads.append(written(answer, Output.TABLE, colour=False).split()[:2])
    assert heads == [["NODE", "GPU"], ["NODE", "GPUS"], ["MODEL", "NODES"]]


def test_scripts_get_all_of_it_with_unknown_as_null() -> None:
    """Use that nobody measured and holds that nobody was asked for are not 0."""
    document: dict[str, Any] = json.loads(table(output=Output.JSON))
    first, _, out, lost, new = [
        node["gpus"][0] if node["gpus"] else node
        for node in (*document["nodes"][:1], {"gpus": []}, *document["nodes"][1:])
    ]
    assert (first["usedMib"], first["held"], first["allocated"], first["free"]) == (12300, None, 68, 12)
    assert (out["usedMib"], out["usedUnknownBecause"]) == (None, "no running device plugin pod is there")
    assert (lost["healthy"], new["problem"]) == (True, "no device plugin")
    assert document["summary"]["usedMib"] is None


@given(st.lists(st.lists(st.tuples(st.integers(1, 80), st.integers(0, 90)), max_size=3), max_size=5))
def test_sums_are_sums(nodes: list[list[tuple[int, int]]]) -> None:
    """Of the rows, whatever is overcommitted."""
    made: list[Json] = []
    pods: list[Json] = []
    for at, sizes in enumerate(nodes):
        made.append(node(f"n{at}", *(size for size, _ in sizes)))
        for gpu, (_, held) in enumerate(sizes):
            if held:
                pods.append(on(f"p{at}-{gpu}", held, uuid(f"n{at}", gpu), f"n{at}"))
    total = sum_of(gpu_rows(view(made, pods)))
    gpus = [each for sizes in nodes for each in sizes]
    assert (total.gpus, total.capacity) == (len(gpus), sum(size for size, _ in gpus))
    assert total.allocated == sum(held for _, held in gpus)
    assert total.free == sum(max(0, size - held) for size, held in gpus)
    assert total.largest == max((max(0, size - held) for size, held in gpus), default=0)


def test_pods_with_what_they_hold_and_why_they_wait() -> None:
    """kube-scheduler's words without what it adds about nodes and preemption."""
    seen = cluster()
    assert written(pods_answer(seen, seen.gpu_pods, USED), Output.TABLE, colour=False) == golden("pods")
    assert written(pods_answer(seen, [], USED), Output.TABLE, colour=False) == "no pods that ask for GPUs\n"
    none = pods_answer(seen, [], USED, pending=True)
    assert written(none, Output.TABLE, colour=False) == "no pods are waiting for GPUs\n"


def test_a_gpu_in_mig_devices_has_a_row_for_each_and_counts_once() -> None:
    """Named by its index and theirs; idle only when all of them are."""
    seen = view([mixed_node("n1")], [on("a", 5, "MIG-n1-1-1", "n1")])
    rows = gpu_rows(seen)
    text = written(top_answer(seen, rows, by=By.GPU, sort=Sort.NAME), Output.TABLE, colour=False)
    assert [line.split()[1] for line in text.splitlines()[1:5]] == ["0", "1:0", "1:1", "1:2"]
    assert "2 GPUs (1 split into 3 MIG devices) on 1 node: 5Gi of 137Gi allocated" in text
    assert ", 1 idle; " not in text
    summary = json.loads(written(top_answer(seen, rows, by=By.NODE, sort=Sort.NAME), Output.JSON, colour=False))
    assert [summary["summary"][key] for key in ("gpus", "migDevices", "idle", "outOfUse")] == [2, 3, 1, 0]
    assert [gpu["place"] for gpu in summary["nodes"][0]["gpus"]] == ["0", "1:0", "1:1", "1:2"]
    assert [gpu["mig"] and gpu["mig"]["profile"] for gpu in summary["nodes"][0]["gpus"]] == [
        None,
        "3g.40gb",
        "1g.10gb",
        "1g.10gb",
    ]


def test_a_cordoned_gpu_takes_all_of_its_mig_devices_out() -> None:
    """One that is cordoned itself is out alone."""
    for written_there, expected in (
        ("GPU-n1-1", [False, True, True, True]),
        ("MIG-n1-1-1", [False, False, True, False]),
    ):
        rows = gpu_rows(view([mixed_node("n1", cordon=written_there)]))
        assert [row.cordoned for row in rows] == expected


def test_pods_name_the_mig_device_that_they_have() -> None:
    """As `top` does."""
    seen = view([mixed_node("n1")], [on("a", 5, "MIG-n1-1-1", "n1")])
    text = written(pods_answer(seen, seen.gpu_pods, MeasuredUsage({}, {})), Output.TABLE, colour=False)
    assert "1:1" in text.splitlines()[1].split()


def test_a_pod_with_a_whole_mig_device_holds_all_of_it() -> None:
    """As explain and the Event say it, however large it is."""
    plan = allocation({"main": {"MIG-a-1-1": 9}})
    whole = pod("p", gpus=1, node="a", annotations={"gpu-model": "*MIG*", "allocation": plan})
    seen = view([mixed_node("a")], [whole])
    answer = top_answer(seen, gpu_rows(seen), by=By.GPU, sort=Sort.NAME)
    assert "default/p all of it" in written(answer, Output.TABLE, colour=False)
