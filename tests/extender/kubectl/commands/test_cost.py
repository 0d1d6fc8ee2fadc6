"""`cost` reports on the cluster as it is, on whole GPUs, behind gpushare, and packed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.specs import MachineSpec, gpu_pod
from extender.capacity.case import CaseError
from extender.capacity.cost_report import headline, scenario_rows
from extender.capacity.scenarios import scenarios_of
from extender.contract.names import Names
from extender.kubectl.cli import main
from extender.kubectl.cluster.cost_case import case_of, read_usage
from extender.kubectl.cluster.prices import load_prices
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.commands.cost import case_answer, cost
from extender.kubectl.options import BadUsage, No, Output
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.writing import written
from tests.extender.kubectl.placed import Json, allocation, node, placed, pod, uuid, view
from tests.extender.kubectl.views import on
from tests.extender.objects import mixed_node

PRICES = load_prices()


def _document(answer: Answer) -> Any:
    return answer.document


def text_of(here: ClusterView) -> str:
    """What people read."""
    return written(cost(here, PRICES, policy="binpack"), Output.TABLE, colour=False)


def test_shares_on_two_gpus_fit_on_one() -> None:
    """At the price of a T4; a node could be drained."""
    here = view([node("n1", 16), node("n2", 16)], [placed("a", 4, "n1"), placed("b", 8, "n2", namespace="ml")])
    answer = cost(here, PRICES, policy="binpack")
    told = _document(answer)
    bills = {name: (one["nodes_in_use"], one["usd_per_hour"]) for name, one in told["scenarios"].items()}
    assert (bills["as it is"], bills["whole GPUs"], bills["gpupack"]) == ((2, 0.70), (2, 0.70), (1, 0.35))
    assert (told["drainable_nodes"], sorted(told["scenarios"]["gpupack"]["namespaces"])) == (1, ["default", "ml"])
    text = written(answer, Output.TABLE, colour=False)
    assert "-1 GPUs, -$0.35/h (-50%), -$255 a month" in text
    assert "1 node could be drained. gpupack places 2 of the 2 pods; 2 are placed now." in text


def test_rows_of_different_pods_are_not_compared() -> None:
    """A pod that nothing can take is named by the reason, and no dollars are saved by leaving it out."""
    picky = placed("a", 4, "n1")
    picky["spec"]["nodeSelector"] = {"zone": "gone"}
    large = placed("b", 18, "n1")
    told = text_of(view([node("n1", 16, 16), node("n2", 16)], [picky, large, placed("c", 8, "n2")]))
    assert (
        "No saving is computed, because the rows hold different pods: as it is 3, gpupack 1 of 3. Left out by gpupack: "
        "no node that taints, node selector and affinity allow (1), request is larger than the GPUs of the node (1)."
    ) in told
    assert "against as it is" not in told


def test_host_room_may_be_what_lacks() -> None:
    """A GPU is free, and all CPU is taken."""
    busy = [placed(name, 4, "n1") for name in ("a", "b")]
    for body in busy:
        body["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "3"}
    told = text_of(view([node("n1", 16, cpu="4")], busy))
    assert "Left out by gpupack: not enough CPU or memory on the nodes (1)." in told


def test_a_cordon_by_hand_counts_as_in_service() -> None:
    """The pod stays on its MIG device, which is paid for; on an unhealthy one it would not be placed again."""
    for reason, pods in (("cordoned by hand", 1), ("XID 79", 0)):
        split = mixed_node("a", ("3g.40gb",))
        inventory = json.loads(split["metadata"]["annotations"]["gpupack.io/inventory"])
        inventory["gpus"][1] |= {"healthy": False, "reason": reason}
        split["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps(inventory)
        there = on("p", 8, "MIG-a-1-0", "a")
        there["metadata"]["annotations"]["gpupack.io/gpu-model"] = "*MIG*"
        told = _document(cost(view([split], [there]), load_prices(None)))
        assert told["scenarios"]["gpupack"]["pods"] == pods
        assert told["notes"] == (["cordoned by hand, and counted as if in service: a/1:0"] if pods else [])


def test_pods_go_only_where_they_may() -> None:
    """A pod that selects the other node is not packed onto this one."""
    picky = placed("a", 4, "n1")
    picky["spec"]["nodeSelector"] = {"zone": "a"}
    chosen = node("n1", 16)
    chosen["metadata"]["labels"] = {"zone": "a"}
    told = _document(cost(view([chosen, node("n2", 24)], [picky, placed("b", 18, "n2")]), PRICES, policy="binpack"))
    assert told["scenarios"]["gpupack"]["nodes_in_use"] == 2


def test_pods_without_gpus_take_their_cpu_and_memory_before() -> None:
    """They stay where they are."""
    web = placed("web", 1, "n1")
    web["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2", "memory": "1Gi"}}
    case = case_of(view([node("n1", 16)], [web]), source="test")
    assert (case.pods, case.taken) == ((), {"n1": (2000, 1 << 30)})


def test_a_whole_gpu_of_which_a_part_is_used_counts_as_a_share_that_holds_it() -> None:
    """Of 3,000 MiB three units of a GiB; a share stays what it asks for."""
    whole = pod("a", gpus=1, node="n1", annotations={"allocation": allocation({"main": {uuid("n1", 0): 16}})})
    here = view([node("n1", 16, 16)], [whole, placed("b", 8, "n1", 1)])
    case = case_of(here, source="test", usage={("default", "a"): 3000, ("default", "b"): 1})
    asked = {pod.name: (pod.asked.whole_gpus, pod.request.whole_gpus, pod.request.memory_units) for pod in case.pods}
    assert asked == {"default/a": (1, 0, 3), "default/b": (0, 0, 8)}


def test_a_pod_on_a_node_that_is_left_out_counts_as_waiting() -> None:
    """Its node has no GPUs that are known."""
    gone = placed("a", 4, "gone")
    assert [pod.node for pod in case_of(view([node("n1", 16)], [gone]), source="test").pods] == [""]


def test_a_stock_cluster_is_read_by_nvidias_labels() -> None:
    """And its pods by nvidia.com/gpu."""
    stock = {
        "metadata": {
            "name": "stock",
            "uid": "stock",
            "resourceVersion": "1",
            "labels": {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.memory": "15360"},
        },
        "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}},
    }
    case = case_of(view([stock], names=Names(gpu_resource="nvidia.com/gpu")), source="test")
    assert case.nodes[0].shape.gpus == (("Tesla T4", 15), ("Tesla T4", 15))


def test_a_stock_node_in_mig_devices_is_read_by_nvidias_labels() -> None:
    """Seven of them are one GPU, at its price."""
    labels = {"product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "memory": "9728", "slices.gi": "1"}
    stock = {
        "metadata": {
            "name": "stock",
            "uid": "stock",
            "resourceVersion": "1",
            "labels": {f"nvidia.com/gpu.{key}": value for key, value in labels.items()},
        },
        "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "14"}},
    }
    case = case_of(view([stock], names=Names(gpu_resource="nvidia.com/gpu")), source="test")
    assert case.nodes[0].inventory is not None
    assert [gpu.place for gpu in case.nodes[0].inventory.gpus] == [f"{card}:{at}" for card in (0, 1) for at in range(7)]
    told = scenarios_of(case, PRICES, "binpack")
    assert headline(case) == "test: 1 node with 2 GPUs, 0 pods that ask for GPUs"
    assert {one.usd_per_hour for one in told} == {0.0}


def _stock(name: str, offered: dict[str, str], **labels: str) -> Json:
    """A node as NVIDIA's device plugin and GPU feature discovery leave it; labels of `nvidia.com/gpu`."""
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "resourceVersion": "1",
            "labels": {f"nvidia.com/gpu.{key}": text for key, text in labels.items()},
        },
        "status": {"allocatable": {"cpu": "64", "memory": "512Gi", **offered}},
    }


def _asking(name: str, node_name: str, **limits: str) -> Json:
    """A pod that asks for resources of NVIDIA's, such as `gpu` or `mig_1g_10gb`."""
    body = pod(name, node=node_name, status={"phase": "Running" if node_name else "Pending"})
    asked = {f"nvidia.com/{key.replace('mig_', 'mig-').replace('_', '.')}": text for key, text in limits.items()}
    body["spec"]["containers"] = [{"name": "main", "resources": {"limits": asked}}]
    return body


def _told(nodes: list[Json], pods: list[Json]) -> Any:
    here = view(nodes, pods, names=Names(gpu_resource="nvidia.com/gpu"))
    return _document(cost(here, PRICES, policy="binpack"))


def test_pods_on_stock_nodes_in_mig_devices_hold_and_get_mig_devices() -> None:
    """With the strategy "single" by `nvidia.com/gpu`; eight A100 are 56 of them."""
    slices = _stock("n", {"nvidia.com/gpu": "56"}, product="NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", memory="9728")
    told = _told([slices], [_asking("a", "n", gpu="1"), _asking("b", "", gpu="1")])
    placed_pods = {name: one["pods"] for name, one in told["scenarios"].items()}
    assert (told["gpus"], placed_pods) == (8, {"as it is": 1, "whole GPUs": 2, "gpushare": 2, "gpupack": 2})
    assert told["scenarios"]["as it is"]["held_gpus"] == pytest.approx(1 / 7)
    assert told["scenarios"]["gpupack"]["held_gpus"] == pytest.approx(2 / 7)


def test_pods_on_stock_nodes_ask_for_mig_devices_by_name() -> None:
    """With the strategy "mixed", beside GPUs that are not split."""
    labels = {"product": "NVIDIA-A100-SXM4-80GB", "memory": "81920", "count": "3"}
    node_ = _stock("n", {"nvidia.com/gpu": "1", "nvidia.com/mig-1g.10gb": "14"}, **labels)
    told = _told([node_], [_asking("a", "n", gpu="1"), _asking("b", "n", mig_1g_10gb="1")])
    assert (told["gpus"], told["notes"]) == (3, [])
    assert [one["held_gpus"] for one in told["scenarios"].values()] == pytest.approx([8 / 7, 2, 8 / 7, 8 / 7])


def test_mig_devices_that_a_container_combines_are_said() -> None:
    """They are no saving of gpupack's, which leaves such a pod out."""
    slices = _stock("n", {"nvidia.com/gpu": "7"}, product="NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", memory="9728")
    told = _told([slices], [_asking("a", "n", gpu="2")])
    assert told["scenarios"]["as it is"]["held_gpus"] == pytest.approx(2 / 7)
    assert "pods with several MIG devices in one container, which gpupack does not combine: 1" in told["notes"]


def test_gpus_that_are_shared_in_time_are_counted_once() -> None:
    """Four pods on a GPU have a quarter of it each."""
    node_ = _stock("n", {"nvidia.com/gpu": "8"}, product="Tesla-T4-SHARED", memory="16384", replicas="4")
    told = _told([node_], [_asking(f"p{at}", "n", gpu="1") for at in range(4)])
    assert (told["gpus"], told["scenarios"]["gpupack"]["held_gpus"]) == (2, 1.0)


def test_a_stock_node_without_gpus_that_can_be_read_is_said() -> None:
    """Beside others, and where it is all there is; a node without GPUs is none of its kind."""
    odd, plain = _stock("odd", {"nvidia.com/gpu": "2"}), _stock("plain", {})
    good = _stock("good", {"nvidia.com/gpu": "2"}, product="Tesla-T4", memory="15360")
    why = "node odd was left out: its labels and resources of NVIDIA name no GPU that is in service"
    assert _told([good, odd, plain], [])["notes"] == [why]
    with pytest.raises(No, match=f"or NVIDIA's labels; {why}"):
        _told([odd, plain], [])


def test_pods_of_gpupack_keep_what_they_ask_for_beside_stock_nodes() -> None:
    """Also where gpupack's own resource of whole GPUs is NVIDIA's."""
    stock = _stock("stock", {"nvidia.com/gpu": "2"}, product="Tesla-T4", memory="15360")
    waits = pod("waits", 4, annotations={"gpu-model": "A100*"})
    case = case_of(view([node("n1", 16), stock], [waits], names=Names(gpu_resource="nvidia.com/gpu")), source="test")
    assert [(one.request.memory_units, one.request.models.accepted) for one in case.pods] == [(4, ("A100*",))]


def test_mig_devices_cost_what_their_gpu_costs() -> None:
    """The node has two; a pod on a device of three slices pays three sevenths."""
    told = _document(cost(view([mixed_node("n1")], [on("a", 39, "MIG-n1-1-0", "n1")]), PRICES, policy="binpack"))
    now = told["scenarios"]["as it is"]
    assert (told["gpus"], now["gpus_in_use"]) == (2, 2)
    assert now["namespaces"]["default"]["gpus"] == pytest.approx(3 / 7)
    assert now["namespaces"]["default"]["usd_per_hour"] == pytest.approx(now["usd_per_hour"] / 2 * 3 / 7)


def test_a_cluster_without_gpus_or_prices_is_refused() -> None:
    """With what was expected."""
    with pytest.raises(No, match="no node with GPUs, expected an inventory annotation or NVIDIA's labels"):
        cost(view([node("cpu")]), PRICES)
    with pytest.raises(BadUsage, match="no price for GPU model 'Unheard Of'"):
        cost(view([node("n1", 16, model="Unheard Of")], [placed("a", 4, "n1")]), PRICES)


def test_usage_is_a_csv_of_three_columns(tmp_path: Path) -> None:
    """A pod, and what it uses."""
    file = tmp_path / "usage.csv"
    file.write_text("namespace,pod,memory_mib\nml,a,4096.5\n")
    assert read_usage(file) == {("ml", "a"): 4096}
    file.write_text("pod,memory_mib\na,much\n")
    with pytest.raises(CaseError, match="namespace,pod,memory_mib"):
        read_usage(file)


def test_a_stock_cluster_is_found_out_by_itself(tmp_path: Path) -> None:
    """Through the API server: no inventory anywhere, so nvidia.com/gpu counts."""
    labels = {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.memory": "15360"}
    with ApiServer() as server:
        access = server.write_kubeconfig(tmp_path / "kubeconfig")
        client = ClusterClient.from_kubeconfig(access)
        client.create_node(MachineSpec("stock", labels=labels).node_object({"nvidia.com/gpu": "2"}))
        client.create_pod(gpu_pod("a", {"nvidia.com/gpu": 1}))
        client.bind_pod("a", "stock")
        client.close()
        result = CliRunner().invoke(main, ["cost", "-o", "json", "--kubeconfig", str(access)])
    assert result.exit_code == 0, result.output
    now = json.loads(result.output)["scenarios"]["as it is"]
    assert (now["pods"], now["held_gpus"], now["usd_per_hour"]) == (1, 1.0, 0.70)


def test_a_dump_is_reported_on_without_a_cluster(tmp_path: Path) -> None:
    """No kubeconfig is looked for; NVIDIA's resource counts where no node has an inventory."""
    dump = tmp_path / "cluster.json"
    objects = [{"kind": "Node", **node("n1", 16)}, {"kind": "Pod", **placed("a", 4, "n1")}]
    dump.write_text(json.dumps({"items": objects}))
    words = ["cost", "--kubeconfig", str(tmp_path / "none"), "-o", "json", "--dump", str(dump)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert (told["source"], told["scenarios"]["as it is"]["pods"]) == ("cluster.json", 1)
    dump.write_text("[]")
    assert CliRunner().invoke(main, words).exit_code == 2


def test_an_unknown_policy_of_a_case_is_wrong_usage() -> None:
    """Its name is told."""
    case = case_of(view([node("n1", 16)]), source="test")
    with pytest.raises(BadUsage, match="policy 'best'"):
        case_answer(case, PRICES, "best")


def test_dollars_per_gpu_hour_are_those_of_gpus_held() -> None:
    """0.70 $ for two T4 of which 4 + 8 of 16 GiB each are held: 0.75 GPUs; packed, one GPU at 0.35 $."""
    here = view([node("n1", 16), node("n2", 16)], [placed("a", 4, "n1"), placed("b", 8, "n2")])
    scenarios = scenarios_of(case_of(here, source="test"), PRICES, "binpack")
    rows = {row[0]: row[-1] for row in scenario_rows(scenarios)}
    assert (rows["scenario"], rows["as it is"], rows["gpupack"]) == ("$/GPU-h", "0.93", "0.47")
