"""Between a server's address and credentials and kubeconfig files, as far as this project's clients use them."""

import base64
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server: address, CA and client credentials; paths of PEM files, empty where unused."""

    server: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: str = ""


def write_kubeconfig(path: Path, *, server: str) -> Path:
    """Write a kubeconfig for a server without authentication and return its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "simulated",
        "clusters": [{"name": "simulated", "cluster": {"server": server}}],
        "users": [{"name": "simulated", "user": {}}],
        "contexts": [{"name": "simulated", "context": {"cluster": "simulated", "user": "simulated"}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def read_kubeconfig(path: Path) -> Access:
    """Read the current context of a kubeconfig; embedded certificates go to private files in the temporary folder.

    Raises:
        ValueError: the file names no current context, or one that is not there.
    """
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    context = _named(config, "contexts", config.get("current-context", ""), path)["context"]
    cluster = _named(config, "clusters", context["cluster"], path)["cluster"]
    user = _named(config, "users", context["user"], path).get("user") or {}
    return Access(
        server=cluster["server"].rstrip("/"),
        ca_file=_file_of(cluster, "certificate-authority", path),
        cert_file=_file_of(user, "client-certificate", path),
        key_file=_file_of(user, "client-key", path),
        token=user.get("token", ""),
    )


def _named(config: Mapping[str, Any], group: str, name: str, path: Path) -> Mapping[str, Any]:
    for entry in config.get(group) or []:
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry
            return found
    raise ValueError(f"{path}: {group} has no entry named {name!r}")


def _file_of(part: Mapping[str, Any], key: str, path: Path) -> str:
    """The PEM file behind `key` or, embedded, behind `key`-data."""
    if part.get(key):
        return str((path.parent / part[key]).resolve())
    if not part.get(f"{key}-data"):
        return ""
    handle, name = tempfile.mkstemp(prefix="kubeconfig-", suffix=".pem")
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64decode(part[f"{key}-data"]))
    return name
