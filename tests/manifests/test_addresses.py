"""What the kubelet probes listens on IPv4 and IPv6: on an IPv6-only cluster a pod has no IPv4 address but loopback."""

from typing import Any

from tests.manifests.written import containers


def listening(container: dict[str, Any]) -> list[str]:
    """The addresses that its arguments name."""
    return [each.partition("=")[2] for each in container.get("args") or () if "listen=" in each]


def test_only_loopback_is_of_one_family() -> None:
    """No address but that of kube-scheduler's calls, which every pod has, is IPv4's alone."""
    found = {address.rpartition(":")[0] for _, container in containers() for address in listening(container)}
    assert found == {"127.0.0.1", "[::]"}


def test_what_is_probed_over_the_network_listens_on_every_address() -> None:
    """At the port of the probe."""
    for file, container in containers():
        ports = {port["name"]: port["containerPort"] for port in container.get("ports") or ()}
        for probe in (container.get(kind) for kind in ("livenessProbe", "readinessProbe")):
            if probe is None or container["name"] == "kube-scheduler" or "host" in probe.get("httpGet", {"host": ""}):
                continue
            assert f"[::]:{ports[probe['httpGet']['port']]}" in listening(container), (file, container["name"])
