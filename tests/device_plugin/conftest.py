"""Folders short enough for UNIX sockets, and parts of a plugin that end with their test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fresh folder with a short path: a socket's may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="gp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
