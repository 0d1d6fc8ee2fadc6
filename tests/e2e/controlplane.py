"""Runs a real Kubernetes control plane on 127.0.0.1 for one test module: programs in, a live API server out."""

import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bench.simulated.client import ApiAccess, write_kubeconfig
from bench.simulated.processes import ServerProcess, free_port
from bench.simulated.waiting import wait_until
from tests.e2e import audit, servers
from tests.e2e.api import Api
from tests.e2e.audit import AuditedRequest
from tests.e2e.binaries import Binaries
from tests.e2e.certificates import CertificateAuthority, KeyPair, write_service_account_key
from tests.e2e.schedulerconfig import on_this_machine, scheduler_configuration

TOKEN_LIFETIME_S = 24 * 3600


class ControlPlane:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler, with RBAC and an audit log.

    A context manager: entering starts everything but the scheduler, which `start_scheduler` does; leaving stops
    everything and removes the files. Nodes are not watched over (no node lifecycle controller, no taint on new
    nodes), so that simulated ones stay. The logs are `folder`/<program>.log while it runs.
    """

    api: Api
    """The API as an admin."""
    admin_kubeconfig: Path
    """A kubeconfig file of the same admin."""

    def __init__(self, binaries: Binaries, *, apiserver_flags: Iterable[str] = ()) -> None:
        self.binaries = binaries
        self._apiserver_flags = tuple(apiserver_flags)
        self._temporary = tempfile.TemporaryDirectory(prefix="gpupack-e2e-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.authority = CertificateAuthority(self.folder)
        self._serving_pair = self.authority.issue("serving", "gpupack-e2e-server")
        self.store_url = ""
        self.server_url = ""
        self.scheduler_url = ""
        self._commands: dict[str, tuple[list[str], str]] = {}
        self._running: dict[str, ServerProcess] = {}
        self._scheduler: ServerProcess | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def start_scheduler(self, configuration: Mapping[str, Any] | None = None, *, flags: Iterable[str] = ()) -> None:
        """Start kube-scheduler and wait until it is ready; one that runs is stopped first.

        Args:
            configuration: a KubeSchedulerConfiguration (see `scheduler_configuration`, or a shipped file's content);
                its kubeconfig and leader election are replaced. None is the stock one without extenders.
            flags: more flags, for instance `--feature-gates=SchedulerPopFromBackoffQ=false`.
        """
        self.stop_scheduler()
        kubeconfig = self.folder / "kube-scheduler.kubeconfig"
        written = self.folder / "kube-scheduler.yaml"
        chosen = scheduler_configuration() if configuration is None else configuration
        written.write_text(yaml.safe_dump(on_this_machine(chosen, kubeconfig)), encoding="utf-8")
        port = free_port()
        self.scheduler_url = f"https://127.0.0.1:{port}"
        command = servers.kube_scheduler(self.binaries, written, port, self._serving_pair)
        self._scheduler = self._server("kube-scheduler", [*command, *flags], f"{self.scheduler_url}/readyz")

    def stop_scheduler(self) -> None:
        """Stop kube-scheduler when it runs; pods created meanwhile stay pending."""
        if self._scheduler is not None:
            self._scheduler.stop()
            self._scheduler = None

    def server(self, name: str) -> ServerProcess:
        """The process of etcd, kube-apiserver or kube-controller-manager."""
        return self._running[name]

    def start_server(self, name: str) -> None:
        """Start one of them again after its process was stopped, where it was, and wait until it is ready."""
        command, ready_url = self._commands[name]
        self._running[name] = self._server(name, command, ready_url)

    @property
    def store_folder(self) -> Path:
        """Where etcd keeps its data."""
        return self.folder / "etcd"

    def kubectl(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run kubectl as the admin and return what it printed.

        Raises:
            RuntimeError: it failed; the message is what it said.
        """
        command = [str(self.binaries.kubectl), f"--kubeconfig={self.admin_kubeconfig}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifest: Path) -> str:
        """Apply a YAML file of one or more objects, or a folder with a kustomization; a second time changes nothing."""
        kind = "--kustomize" if manifest.is_dir() else "--filename"
        return self.kubectl("apply", "--server-side", "--force-conflicts", kind, str(manifest))

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """Write a kubeconfig with a token of the service account, so that what uses it runs under its RBAC rights."""
        path = self.folder / f"{namespace}.{service_account}.kubeconfig"
        return write_kubeconfig(path, self.access_of(namespace, service_account))

    def token_for(self, namespace: str, service_account: str) -> str:
        """Ask for a token of the service account (TokenRequest API), valid for a day."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        token: str = self.api.create(path, {"spec": {"expirationSeconds": TOKEN_LIFETIME_S}})["status"]["token"]
        return token

    def api_as(self, namespace: str, service_account: str) -> Api:
        """The API as the service account."""
        return Api(self.access_of(namespace, service_account))

    def access_of(self, namespace: str, service_account: str) -> ApiAccess:
        """How to reach the API as the service account."""
        return self.access(token=self.token_for(namespace, service_account))

    def access(self, *, token: str = "", client: KeyPair | None = None) -> ApiAccess:
        """How to reach the API with a token or a client certificate."""
        pair = (str(client.certificate), str(client.key)) if client is not None else ("", "")
        return ApiAccess(self.server_url, str(self.authority.path), *pair, token)

    def audited(self, namespace: str, service_account: str) -> list[AuditedRequest]:
        """Every request that the service account has made so far: which rights it used, which it lacked."""
        return audit.read_audit_log(self.folder / "audit.log", namespace, service_account)

    def issue_kubeconfig(self, file_name: str, user: str, groups: tuple[str, ...] = ()) -> Path:
        """Write a kubeconfig with a new client certificate of `user`."""
        client = self.authority.issue(file_name, user, groups)
        path = self.folder / f"{file_name}.kubeconfig"
        return write_kubeconfig(path, self.access(client=client))

    def _start(self) -> None:
        self._start_etcd()
        admin = self._start_apiserver()
        access = self.access(client=admin)
        self.api = Api(access)
        self.admin_kubeconfig = write_kubeconfig(self.folder / "admin.kubeconfig", access)
        # Its controllers share one user: an own service account for each would fill the audit log.
        self.issue_kubeconfig("kube-controller-manager", "system:kube-controller-manager", ("system:masters",))
        self.issue_kubeconfig("kube-scheduler", "system:kube-scheduler")
        self._start_controller_manager()
        wait_until(
            lambda: self.api.exists("/api/v1/namespaces/default/serviceaccounts/default"),
            what="the default service account",
        )

    def _start_etcd(self) -> None:
        port = free_port()
        self.store_url = f"http://127.0.0.1:{port}"
        command = servers.etcd(self.binaries, self.store_folder, port, free_port())
        self._first_start("etcd", command, f"{self.store_url}/health")

    def _start_apiserver(self) -> KeyPair:
        port = free_port()
        self.server_url = f"https://127.0.0.1:{port}"
        admin = self.authority.issue("admin", "gpupack-e2e-admin", ("system:masters",))
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(audit.POLICY), encoding="utf-8")
        files = servers.ApiServerFiles(
            authority=self.authority.path,
            serving=self._serving_pair,
            kubelet_client=self.authority.issue("kubelet-client", "kube-apiserver-kubelet", ("system:masters",)),
            service_account_key=write_service_account_key(self.folder / "service-account.key"),
            audit_policy=policy,
            audit_log=self.folder / "audit.log",
        )
        command = [*servers.kube_apiserver(self.binaries, self.store_url, port, files), *self._apiserver_flags]
        self._first_start("kube-apiserver", command, f"{self.server_url}/readyz")
        return admin

    def _start_controller_manager(self) -> None:
        port = free_port()
        command = servers.kube_controller_manager(
            self.binaries,
            kubeconfig=self.folder / "kube-controller-manager.kubeconfig",
            authority=self.authority.path,
            service_account_key=self.folder / "service-account.key",
            port=port,
            serving=self._serving_pair,
        )
        url = f"https://127.0.0.1:{port}"
        self._first_start("kube-controller-manager", command, f"{url}/healthz")

    def _first_start(self, name: str, command: list[str], ready_url: str) -> None:
        self._commands[name] = (command, ready_url)
        self.start_server(name)

    def _server(self, name: str, command: list[str], ready_url: str) -> ServerProcess:
        return servers.start(name, command, self.folder, ready_url, self.authority.path)

    def _stop(self) -> None:
        self.stop_scheduler()
        for process in reversed(self._running.values()):
            # Nothing of it is kept, so nothing needs to end in order.
            process.kill()
        self._running.clear()
        if hasattr(self, "api"):
            self.api.close()
        self._temporary.cleanup()
