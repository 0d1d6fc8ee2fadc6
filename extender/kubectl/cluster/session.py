"""Asks the API server, and a running extender, for the time of one command."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
import msgspec
import urllib3

from extender.contract.names import Names
from extender.kube.access import Access, access_of
from extender.kube.client import KubeApi, connect, object_in
from extender.kube.errors import ApiError, ApiUnreachable, KubeConfigError
from extender.kube.listing import EnvelopeError, list_pages
from extender.kubectl.cluster.view import LEFT_OUT, ClusterView, Read, readable, view_of
from extender.kubectl.options import BadUsage, No, Options, Unreachable

NODES_PATH = "/api/v1/nodes"
PODS_PATH = "/api/v1/pods"
_EXTENDER_TIMEOUT_S = 10.0
_MOST_NAMED = 3


class Session:
    """A connection to one cluster for the time of one command; a failed request ends the command with one line."""

    def __init__(self, options: Options) -> None:
        self.options = options
        try:
            self._access = access_of(options.kubeconfig or "", options.context or "")
            self.api = _connect(self._access)
        except KubeConfigError as error:
            raise BadUsage(str(error)) from error

    def close(self) -> None:
        """Close the idle connections."""
        self.api.close()

    def view(self, names: Names | None = None) -> ClusterView:
        """The cluster now; read with other `names` than the installation's where they are given."""
        taken_at = datetime.now(UTC)
        # Pods first: a pod that is bound between the two lists is then missing, and never counted on no node.
        pods = list(self.items(PODS_PATH))
        nodes = list(self.items(NODES_PATH))
        options = self.options
        view = view_of(nodes, pods, names=names or options.names, taken_at=taken_at, unit_mib=options.unit_mib)
        _report([warning for warning in view.warnings if LEFT_OUT in warning])
        return view

    def namespace(self) -> str:
        """The namespace that a name without one is looked for in."""
        return self.options.namespace or self._access.namespace or "default"

    def namespaces(self) -> str | None:
        """The namespace that a table is narrowed to; None for all of them."""
        return None if self.options.all_namespaces else self.namespace()

    def items(self, path: str) -> Iterator[bytes]:
        """The JSON of every object of a collection; `path` may carry selectors."""
        try:
            for page in list_pages(self.api, path, self.options.timeout_s):
                yield from page.items
        except (ApiError, ApiUnreachable, EnvelopeError) as error:
            raise failure(path, error) from error

    def objects(self, path: str, read: Callable[[bytes], Read]) -> list[Read]:
        """Every object of a collection that can be read; standard error names those that cannot."""
        left_out: list[str] = []
        found = readable(self.items(path), read, left_out)
        _report(left_out)
        return found

    def read(self, path: str) -> bytes | None:
        """One object; None when it is not there."""
        try:
            return self.api.read(path, self.options.timeout_s)
        except ApiError as error:
            if error.says_gone(*object_in(path)) or error.says_gone("", ""):  # an API that it does not serve
                return None
            raise failure(path, error) from error
        except ApiUnreachable as error:
            raise failure(path, error) from error

    def ask_extender(self, path: str, *, as_text: bool = False) -> Any:
        """The JSON that the extender of `--extender` answers to a GET; None without one, or where it has no answer.

        With `as_text` the answer may be any text.

        Raises:
            Unreachable: it cannot be asked.
        """
        if not self.options.extender:
            return None
        url = self.options.extender.rstrip("/") + path
        try:
            answer = urllib3.request("GET", url, timeout=_EXTENDER_TIMEOUT_S, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"extender {url}: {error}") from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Unreachable(f"extender {url}: {answer.data[:200].decode(errors='replace').strip()} ({answer.status})")
        if as_text:
            return answer.data.decode(errors="replace")
        try:
            return msgspec.json.decode(answer.data)
        except msgspec.DecodeError as error:
            raise Unreachable(f"extender {url}: not JSON: {error}") from error


def _report(left_out: Sequence[str]) -> None:
    """Name on standard error what could not be read: the answer is without it."""
    if left_out:
        names = sorted(warning.partition(LEFT_OUT)[0] for warning in left_out)
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        what = "1 unreadable object" if len(names) == 1 else f"{len(names)} unreadable objects"
        click.echo(f"{what} left out: {', '.join(names[:_MOST_NAMED])}{more}", err=True)


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def failure(what: str, error: Exception) -> Unreachable | No:
    """The one line that a failed request ends a command with."""
    if isinstance(error, ApiError) and error.status in (401, 403):
        return Unreachable(f"{what}: not allowed: {error.message}")
    if isinstance(error, ApiUnreachable):
        return Unreachable(f"API server can't be reached: {error}")
    return Unreachable(f"{what}: {error}")


def _connect(access: Access) -> KubeApi:
    return connect(access.kubeconfig, context=access.context or None, user_agent="kubectl-gpupack")
