"""Keep what proves a caller and the API server to each other: token, CA and client certificate, read again on change.

The official client understands kubeconfig files, proxies and programs that make tokens. It is imported when the first
connection is prepared, since that takes a third of a second.
"""

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from extender.kube.errors import KubeConfigError

_LOG = logging.getLogger(__name__)
POOL_CONNECTIONS = 80
"""Kept open: 64 binds at a time, the watches, and a few single requests besides."""

CHECK_S = 1.0
"""Files are looked at this often at most, and before the request that follows a refused one."""

_Signature = tuple[tuple[int, int, int] | None, ...]


class Credentials:
    """Connections and headers for requests made now; safe to use from many threads.

    A changed certificate file gets a new pool of connections, as client-go does, so that no old connection goes on with
    an expired certificate. Files that do not fit together (one of a pair is replaced, the other not yet) are tried
    again, and until they fit the connections stay as they are. So does the token while its file is missing or unusable.
    """

    def __init__(
        self, settings: Any, token_file: Path | None, user_agent: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take a `kubernetes.client.Configuration` and, where the token is in a file, that file.

        Raises:
            OSError, ssl.SSLError, ValueError: a file cannot be used.
        """
        self._settings = settings
        self._token_file = token_file
        self._user_agent = user_agent
        self._clock = clock
        self._lock = threading.Lock()
        # Each look at it reads the proxies in the environment.
        self._server = str(settings.host).rstrip("/")
        files = (settings.ssl_ca_cert, settings.cert_file, settings.key_file)
        self._tls_files = [Path(file) for file in files if file]
        self._tls_signature = _signature(self._tls_files)
        self._failed_signature: _Signature | None = None
        self._pool = _pool(settings)
        self._token_signature: _Signature = ()
        self._failed_token_signature: _Signature = ()
        self._token = ""
        self._read_token()
        self._authorization: dict[str, str] = {}
        self._checked_s = clock() - CHECK_S

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return self._server

    def pool(self) -> urllib3.PoolManager:
        """The connections for one request.

        Raises:
            OSError, ValueError: the token's file cannot be read.
        """
        self._refresh()
        return self._pool

    def headers(self, content_type: str | None = None) -> dict[str, str]:
        """The headers of one request.

        Raises:
            Exception: a token cannot be read or made; whatever the file system, YAML or a program raise.
        """
        self._refresh()
        headers = {"Accept": "application/json", "User-Agent": self._user_agent, **self._authorization}
        if content_type is not None:
            headers["Content-Type"] = content_type
        return headers

    def doubt(self) -> None:
        """Look at the files before the next request: this one was refused."""
        with self._lock:
            self._checked_s = self._clock() - CHECK_S

    def leave_pool(self) -> None:
        """Open new connections from now on: where one has fallen silent, idle ones to the same address have, too."""
        with self._lock, suppress(OSError, ValueError):
            self._pool = _pool(self._settings)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def _refresh(self) -> None:
        with self._lock:
            if self._clock() - self._checked_s >= CHECK_S:
                self._check_tls()
                self._read_token()
                self._authorization = self._authorized()
                self._checked_s = self._clock()

    def _authorized(self) -> dict[str, str]:
        if self._token:
            found = {"authorization": f"Bearer {self._token}"}
        else:
            # The official client reads all of its settings again each time, or runs a program that makes a token.
            found = {one["key"]: one["value"] for one in self._settings.auth_settings().values()}
        if not all(value.isascii() and value.isprintable() for value in found.values()):
            # What it says is not told: it may be a secret.
            raise ValueError("a credential is not one line of printable ASCII characters")
        return found

    def _check_tls(self) -> None:
        signature = _signature(self._tls_files)
        if signature == self._tls_signature:
            return
        try:
            pool = _pool(self._settings)
        except (OSError, ValueError) as error:
            if signature != self._failed_signature:
                self._failed_signature = signature
                _LOG.warning("changed TLS files cannot be used yet: %s", error)
            return
        # The old pool closes its connections when the last request that uses it has ended.
        self._pool, self._tls_signature = pool, signature
        _LOG.info("TLS files have changed and were read again")

    def _read_token(self) -> None:
        if self._token_file is None:
            return
        signature = _signature([self._token_file])
        if signature != self._token_signature or not self._token:
            try:
                self._token, self._token_signature = _token_in(self._token_file), signature
            except (OSError, ValueError) as error:
                if not self._token:
                    raise
                if signature != self._failed_token_signature:
                    self._failed_token_signature = signature
                    _LOG.warning("changed token file cannot be used yet, the last token is kept: %s", error)
                return
        self._failed_token_signature = ()


class WriteHealth:
    """Tells when writes keep failing: the credentials are not accepted, a right is missing, or nothing gets through.

    A view that is fed well says nothing of writes (an etcd without space serves reads for days), so a readiness check
    shows `problem`, and a metric whether there is one. Each kind of write counts by itself (a bind that is forbidden is
    not healed by a patch that is written), but for Events, which a cluster may well forbid or lose. A problem ends with
    the first write of its kind that gets through, or when none was tried for `RECENT_S`: a program that is not ready
    may be asked for nothing that it could write.
    """

    STEADY_S = 30.0
    RECENT_S = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failing: dict[str, tuple[float, float, str]] = {}
        self._lock = threading.Lock()

    @property
    def problem(self) -> str:
        """What is wrong, for people; empty when all is well."""
        now_s = self._clock()
        with self._lock:
            for kind, (since_s, last_s, text) in self._failing.items():
                if last_s - since_s >= self.STEADY_S and now_s - last_s < self.RECENT_S:
                    return f"{kind} has failed for {now_s - since_s:.0f} s: {text}"
        return ""

    def succeeded(self, kind: str) -> None:
        """A write of this kind, such as `POST pods/binding`, got through to the object that it is about."""
        if kind in self._failing:
            with self._lock:
                self._failing.pop(kind, None)

    def failed(self, kind: str, text: str) -> None:
        """One did not, for a reason that is not the object's; not for Events."""
        if kind.endswith(" events"):
            return
        now_s = self._clock()
        with self._lock:
            since_s, last_s, _ = self._failing.get(kind, (now_s, now_s, ""))
            self._failing[kind] = (since_s if now_s - last_s < self.RECENT_S else now_s, now_s, text)


def load_credentials(
    kubeconfig: str | None,
    context: str | None,
    service_account_dir: Path,
    user_agent: str,
    clock: Callable[[], float] = time.monotonic,
) -> Credentials:
    """Read a kubeconfig file, or the service account and the pod's environment when None.

    Raises:
        KubeConfigError: the file, the context, the service account or a certificate cannot be used.
    """
    from kubernetes import client  # noqa: PLC0415 - imported late, see the module

    settings: Any = client.Configuration()
    try:
        token_file = (
            _load_service_account(settings, service_account_dir)
            if kubeconfig is None
            else _load_kubeconfig(settings, kubeconfig, context)
        )
        # False is urllib3's "raise at once": nothing is sent a second time behind our back.
        settings.retries = False
        settings.keep_alive = True
        settings.connection_pool_maxsize = POOL_CONNECTIONS
        return Credentials(settings, token_file, user_agent, clock)
    except Exception as error:  # the client raises whatever YAML, base64, TLS and the file system raise
        source = f"service account in {service_account_dir}" if kubeconfig is None else f"kubeconfig {kubeconfig}"
        raise KubeConfigError(f"{source}: {error}") from error


def _load_service_account(settings: Any, directory: Path) -> Path:
    from kubernetes.config import incluster_config  # noqa: PLC0415 - as above

    loaders: Any = incluster_config  # without types in the client
    token_file = directory / "token"
    loader = loaders.InClusterConfigLoader(str(token_file), str(directory / "ca.crt"), try_refresh_token=False)
    loader.load_and_set(settings)
    return token_file


def _load_kubeconfig(settings: Any, kubeconfig: str, context: str | None) -> Path | None:
    """Fill the settings; the file that holds the token, if one does.

    Nothing is written back: a refreshed token of the admin's own file is theirs to write.
    """
    from kubernetes.config import kube_config  # noqa: PLC0415 - as above

    named = [Path(part).expanduser() for part in kubeconfig.split(os.pathsep) if part]
    files = os.pathsep.join(str(file) for file in named if file.is_file())
    if not files:
        raise FileNotFoundError("no such file")
    loaders: Any = kube_config  # without types in the client
    merged = loaders.KubeConfigMerger(files).config
    if merged is None:
        raise ValueError("no configuration found")
    loader = loaders.KubeConfigLoader(config_dict=merged, active_context=context, config_base_path=None)
    loader.load_and_set(settings)
    user = loader.current_context["context"].get("user")
    entry = merged["users"].get_with_name(user, safe=True) if user and merged.safe_get("users") else None
    found = entry["user"] if entry is not None else None
    if found is None or {"token", "auth-provider"} & set(found.value) or not found.safe_get("tokenFile"):
        return None
    return Path(found.path or ".").absolute().parent / str(found["tokenFile"])


def _pool(settings: Any) -> urllib3.PoolManager:
    """Connections as the official client sets them up, proxies included.

    Raises:
        OSError, ValueError: a certificate cannot be used.
    """
    from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415 - as above

    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if settings.ssl_ca_cert:
        context.load_verify_locations(settings.ssl_ca_cert)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return RESTClientObject(settings).pool_manager


def _token_in(file: Path) -> str:
    """The token; an error does not show the content, since it may be a secret."""
    token = file.read_text(encoding="utf-8", errors="replace").strip()
    if not (token and token.isascii() and token.isprintable()):
        found = "another text" if token else "an empty file"
        raise ValueError(f"{file}: expected a token in one line of printable ASCII characters, got {found}")
    return token


def _signature(files: list[Path]) -> _Signature:
    """What changes with the content of the files; None for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            state = file.stat()
            found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)
