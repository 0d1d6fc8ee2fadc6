"""Writes kubeconfig files from a server's address and one user's token or certificate."""

from pathlib import Path
from typing import Any

import yaml

from tests.e2e.certificates import KeyPair


def write_kubeconfig(
    path: Path, server: str, authority: Path, *, client: KeyPair | None = None, token: str | None = None
) -> None:
    """Write a kubeconfig with one cluster, one user and one context, all called "e2e"."""
    user: dict[str, Any] = {}
    if client is not None:
        user = {"client-certificate": str(client.certificate), "client-key": str(client.key)}
    if token is not None:
        user = {"token": token}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "e2e",
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "e2e", "user": user}],
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    path.chmod(0o600)
