"""Find out which cluster is meant: kubeconfig files, context and namespace, in the order in which kubectl looks."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extender.kube.client import SERVICE_ACCOUNT_DIR
from extender.kube.errors import KubeConfigError

DEFAULT_KUBECONFIG = Path("~/.kube/config")


@dataclass(frozen=True, slots=True)
class Access:
    """Kubeconfig files with the path separator between (None: the service account), context and namespace or empty."""

    kubeconfig: str | None
    context: str = ""
    namespace: str = ""


def access_of(kubeconfig: str, chosen_context: str) -> Access:
    """The cluster of the arguments (empty: not given), else KUBECONFIG, else ~/.kube/config, else the service account.

    Of several files the first that names a current context, or has the context, counts; absent files are skipped.

    Raises:
        KubeConfigError: a file cannot be read.
    """
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG", "")
    if not kubeconfig:
        found = DEFAULT_KUBECONFIG.expanduser()
        if not found.is_file() and (SERVICE_ACCOUNT_DIR / "token").is_file():
            return Access(None, namespace=_own_namespace())
        kubeconfig = str(found)
    files = [Path(part).expanduser() for part in kubeconfig.split(os.pathsep) if part]
    contents = [_read(file) for file in files if file.is_file()]
    current = next((str(each["current-context"]) for each in contents if each.get("current-context")), "")
    context = chosen_context or current
    return Access(kubeconfig, context, _namespace_of(context, contents))


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise KubeConfigError(f"kubeconfig {file}: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise KubeConfigError(f"kubeconfig {file}: expected an object, got {type(content).__name__}")
    return content


def _namespace_of(name: str, contents: Sequence[Mapping[str, Any]]) -> str:
    for content in contents:
        for each in content.get("contexts") or ():
            if isinstance(each, Mapping) and each.get("name") == name:
                return str((each.get("context") or {}).get("namespace") or "")
    return ""


def _own_namespace() -> str:
    with suppress(OSError):
        return (SERVICE_ACCOUNT_DIR / "namespace").read_text(encoding="utf-8").strip()
    return ""
