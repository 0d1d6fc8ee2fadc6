"""Renders folders with a kustomization into objects, with `kubectl kustomize`."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[1]
HASHED = re.compile(r"(?<=gpupack-scheduler-config)-[a-z0-9]{10}\b")
TIMEOUT_S = 60

Object = dict[str, Any]
Key = tuple[str, str]
"""Kind and name."""


class RenderingError(RuntimeError):
    """kubectl could not render a folder; the message has its output."""


def rendered(kubectl: str, folders: Sequence[str], components: Sequence[str] = ()) -> dict[Key, Object]:
    """The objects of folders of manifests/ with some components, by kind and name.

    The hash that kustomize adds to a ConfigMap's name is left out: in the chart a checksum takes its place.

    Raises:
        RenderingError: kubectl refused.
    """
    with tempfile.TemporaryDirectory(dir=MANIFESTS, prefix=".rendering-") as folder:
        wanted = {
            "resources": [f"../{each}" for each in folders],
            "components": [f"../components/{each}" for each in components],
        }
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(wanted), encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - the maintainer names the program
            [kubectl, "kustomize", folder], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    if done.returncode != 0:
        raise RenderingError(f"kubectl kustomize {' '.join([*folders, *components])}: {done.stderr.strip()}")
    objects = yaml.safe_load_all(HASHED.sub("", done.stdout))
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}
