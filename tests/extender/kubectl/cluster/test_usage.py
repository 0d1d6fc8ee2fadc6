"""Memory in use comes from the device plugins' metrics as they really are, and what is not known is not 0."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from device_plugin.gpus.readings import GpuReading
from device_plugin.pods.pod import ContainerKey
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView
from device_plugin.usage.accounting.usage import ContainerUse
from device_plugin.usage.measuring import Measurement
from extender.contract.units import GpuUuid
from extender.kubectl.cluster import usage as usage_module
from extender.kubectl.cluster.session import Session
from extender.kubectl.cluster.usage import MeasuredUsage, NodeUsage, parse_usage, scrape
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import Options
from tests.device_plugin.builders import gpus, memory, placed, pod
from tests.extender.kubectl.views import component, view
from tests.extender.objects import Json, node
from tests.fakes.api_server import ApiServer, Exchange, kubeconfig_for

GIB = 1 << 30
A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MAIN, SIDE = ContainerKey("uid-p", "main"), ContainerKey("uid-p", "side")


def exposition() -> str:
    """What a device plugin serves that measured 10 GiB on GPU-a, 9 of them by one pod, and lost GPU-b."""
    measurement = Measurement(
        at_s=1.0,
        readings={A: GpuReading(uuid=A, used_bytes=10 * GIB)},
        uses=(ContainerUse(MAIN, A, 6 * 1024), ContainerUse(SIDE, A, 3 * 1024)),
        peaks_mib={(MAIN, A): 8 * 1024, (SIDE, A): 3 * 1024},
    )
    plan = {"main": placed(a=8), "side": placed(a=4)}
    bound = pod("p", memory("main", 8), memory("side", 4), plan=plan)
    registry = CollectorRegistry()
    registry.register(
        GpuCollector(
            NodeView(gpus=lambda: gpus(a=16, b=16), measurement=lambda: measurement, pods=lambda: {"uid-p": bound})
        )
    )
    return generate_latest(registry).decode()


def plugin(name: str, node_name: str, port: int | None = 9400) -> Json:
    """A device plugin's pod."""
    body = component(name, "device-plugin", node=node_name)
    if port is not None:
        body["spec"]["containers"] = [{"name": "x", "ports": [{"name": "metrics", "containerPort": port}]}]
    return body


def test_what_the_device_plugin_serves_is_read_back() -> None:
    """Per GPU by whomever, per pod over its containers; of a GPU that could not be read nothing."""
    usage = parse_usage(exposition())
    assert usage == NodeUsage({A: 10 * 1024}, {("default", "p"): {A: 9 * 1024}}, {("default", "p"): {A: 11 * 1024}})
    of_node = MeasuredUsage({"n1": usage})
    assert (of_node.of_gpu("n1", A), of_node.of_gpu("n1", B), of_node.of_gpu("n2", A)) == (10 * 1024, None, None)
    assert (of_node.of_pod("n1", "default", "p"), of_node.of_pod("n1", "default", "q")) == (9 * 1024, None)


def test_what_is_no_exposition_is_an_error() -> None:
    """A proxy's page is no measurement."""
    with pytest.raises(ValueError, match="html"):
        parse_usage("<html>sign in</html>")


def asked(
    tmp_path: Path, seen: ClusterView, answers: dict[str, tuple[int, object]], *, insist: bool = False
) -> MeasuredUsage:
    """What is found out of an API server that passes on so; it is asked no other path."""
    with ApiServer() as server:

        def answer(exchange: Exchange) -> None:
            status, body = answers[exchange.request.path]
            exchange.answer(status, body)

        server.on_other(*[answer] * len(answers))
        session = Session(Options(kubeconfig=kubeconfig_for(server, tmp_path)))
        found = scrape(session, seen, seen.snapshot.nodes, insist=insist)
        session.close()
        assert server.faults == []
        return found


def proxy(name: str) -> str:
    """Where the API server passes on to a plugin's metrics."""
    return f"/api/v1/namespaces/gpupack-system/pods/{name}:9400/proxy/metrics"


def test_each_node_is_known_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never 0 in place of unknown."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    plugins = [plugin("p1", "n1"), plugin("p2", "n2"), plugin("p3", "n3", port=None), plugin("p5", "n5")]
    seen = view([node(f"n{at}", 16) for at in range(1, 6)], plugins)
    usage = asked(
        tmp_path,
        seen,
        {
            proxy("p1"): (200, exposition().encode()),
            proxy("p2"): (503, {"kind": "Status", "message": "no route to host", "reason": "ServiceUnavailable"}),
            proxy("p5"): (200, b"<html>"),
        },
    )
    assert list(usage.nodes) == ["n1"]
    assert {name: problem.partition(": ")[0] for name, problem in usage.problems.items()} == {
        "n2": "its metrics can't be read through the API server",
        "n3": "pod gpupack-system/p3 has no port named metrics",
        "n4": "no running device plugin pod is there",
        "n5": "its metrics can't be read",
    }
    assert usage.problems["n2"].endswith("503 no route to host")


def test_whoever_may_not_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are not asked for the same answer; which right is missing is said."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(usage_module, "AT_A_TIME", 1)
    seen = view([node("n1", 16), node("n2", 16)], [plugin("p1", "n1"), plugin("p2", "n2")])
    usage = asked(tmp_path, seen, {proxy("p1"): (403, {"kind": "Status", "message": "no", "reason": "Forbidden"})})
    assert set(usage.problems.values()) == {"not allowed: get pods/proxy in namespace gpupack-system"}
    assert list(usage.problems) == ["n1", "n2"]


def test_thousands_of_nodes_are_asked_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a connection."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(usage_module, "MOST_NODES", 1)
    seen = view([node("n1", 16), node("n2", 16)])
    assert set(asked(tmp_path, seen, {}).problems.values()) == {"more than 1 nodes; --used asks them all"}
    assert "no running device plugin" in asked(tmp_path, seen, {}, insist=True).problems["n1"]
