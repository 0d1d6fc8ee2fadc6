"""Reads the names and labels of the series that a running extender and device plugin really export."""

from collections.abc import Iterator
from pathlib import Path

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from bench.simulated.apiserver.server import ApiServer
from extender.kube.client import connect
from extender.server.service import Service
from extender.server.settings import Settings, parse_address
from tests.device_plugin.reporting.test_gpu_metrics import exported as exported_by_plugin

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds when it scrapes."""

VERBS = ("filter", "prioritize", "preempt", "bind")
Series = dict[str, frozenset[str]]


def of_extender(folder: Path) -> Series:
    """Labels by name of the series that an extender exports after each of its verbs was called."""
    settings = Settings(listen=parse_address("127.0.0.1:0", setting="listen"))
    with ApiServer() as server, urllib3.PoolManager(retries=False, timeout=10) as http:
        service = Service(settings, connect(str(server.write_kubeconfig(folder / "kubeconfig"))))
        service.start()
        try:
            for verb in VERBS:
                http.request("POST", f"http://127.0.0.1:{service.port}/{verb}", body=b"{}")
            text = http.request("GET", f"http://127.0.0.1:{service.port}/metrics").data.decode()
        finally:
            service.stop()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def of_plugin() -> Series:
    """Labels by name of the series that a device plugin exports; docs/metrics.md must list the same."""
    return dict(_of_plugin())


def _of_plugin() -> Iterator[tuple[str, frozenset[str]]]:
    for name, (kind, labels) in exported_by_plugin().items():
        if kind == "histogram":
            yield from ((f"{name}_{part}", labels) for part in ("sum", "count"))
            yield f"{name}_bucket", labels | {"le"}
        else:
            yield name, labels
