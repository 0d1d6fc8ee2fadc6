"""Builds the command lines of the control plane's programs, and waits until each is ready."""

from dataclasses import dataclass
from pathlib import Path

from bench.simulated.processes import ServerProcess, not_ok_because
from tests.e2e.binaries import Binaries
from tests.e2e.certificates import KeyPair

READY_TIMEOUT_S = 180

# What keeps pods, their owners, their volumes and service accounts in order. Left out is what watches over nodes:
# it would evict pods from simulated ones, whose leases nobody renews.
CONTROLLERS = (
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "validatingadmissionpolicy-status-controller",
)


@dataclass(frozen=True, slots=True)
class ApiServerFiles:
    """The files that kube-apiserver reads and writes."""

    authority: Path
    serving: KeyPair
    kubelet_client: KeyPair
    service_account_key: Path
    audit_policy: Path
    audit_log: Path


def etcd(binaries: Binaries, data: Path, client_port: int, peer_port: int) -> list[str]:
    """A single member that keeps nothing safe on disk: its data dies with the test."""
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    return [
        str(binaries.etcd),
        f"--data-dir={data}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def kube_apiserver(binaries: Binaries, store_url: str, port: int, files: ApiServerFiles) -> list[str]:
    """RBAC and node authorization, client certificates and service account tokens, an audit log."""
    return [
        str(binaries.kube_apiserver),
        f"--etcd-servers={store_url}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # New nodes would be tainted as not ready, and the controller that takes the taint away is left out.
        "--disable-admission-plugins=TaintNodesByCondition",
        "--allow-privileged=true",
        f"--client-ca-file={files.authority}",
        f"--tls-cert-file={files.serving.certificate}",
        f"--tls-private-key-file={files.serving.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.service_account_key}",
        f"--service-account-signing-key-file={files.service_account_key}",
        f"--kubelet-certificate-authority={files.authority}",
        f"--kubelet-client-certificate={files.kubelet_client.certificate}",
        f"--kubelet-client-key={files.kubelet_client.key}",
        f"--audit-policy-file={files.audit_policy}",
        f"--audit-log-path={files.audit_log}",
    ]


def kube_controller_manager(
    binaries: Binaries, *, kubeconfig: Path, authority: Path, service_account_key: Path, port: int, serving: KeyPair
) -> list[str]:
    """The controllers of CONTROLLERS, and the ones that make service account tokens work."""
    return [
        str(binaries.kube_controller_manager),
        f"--kubeconfig={kubeconfig}",
        "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--root-ca-file={authority}",
        f"--service-account-private-key-file={service_account_key}",
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        # Autoscalers look every 15 s and wait 5 minutes before they take pods away; tests do not have that long.
        "--horizontal-pod-autoscaler-sync-period=1s",
        "--horizontal-pod-autoscaler-downscale-stabilization=1s",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
    ]


def kube_scheduler(binaries: Binaries, configuration: Path, port: int, serving: KeyPair) -> list[str]:
    """The stock scheduler with a configuration file; /metrics is open to anyone on this machine."""
    return [
        str(binaries.kube_scheduler),
        f"--config={configuration}",
        "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
    ]


def start(name: str, command: list[str], folder: Path, ready_url: str, authority: Path) -> ServerProcess:
    """Start a program that is ready when `ready_url` answers 200; its log is `folder`/`name`.log.

    Raises:
        ProcessError: it ended, or was not ready in time; it runs no longer.
    """
    process = ServerProcess(name, command, log=folder / f"{name}.log")
    try:
        return process.wait_ready(lambda: not_ok_because(ready_url, ca_file=str(authority)), timeout_s=READY_TIMEOUT_S)
    except BaseException:
        process.kill()
        raise
