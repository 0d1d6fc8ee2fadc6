"""Reads the containers that are written in the manifests, those in patches included."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
SOURCES = ("base", "overlays", "components")


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container with its file, by the manifests' folder."""
    for path in sorted(path for folder in SOURCES for path in (MANIFESTS / folder).rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            spec = document.get("spec") if isinstance(document, dict) else None
            if isinstance(spec, dict):
                pod = spec.get("template", {}).get("spec", spec)
                yield from ((str(path.relative_to(MANIFESTS)), each) for each in pod.get("containers") or ())
