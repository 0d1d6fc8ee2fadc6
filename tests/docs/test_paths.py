"""The files and folders of the repository that the documentation names exist."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY, pages

PATH = re.compile(r"(?<![\w./-])(?:extender|device_plugin|bench|tests|manifests|docs|\.ci)/[\w./*-]*[\w/*]")
HISTORY = REPOSITORY / "CHANGELOG.md"


def missing(text: str) -> list[str]:
    """The paths in a text that match no file or folder of the repository; `*` stands for any part of a name."""
    return [path for path in PATH.findall(text) if not any(REPOSITORY.glob(path.rstrip("/")))]


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if page != HISTORY],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_paths_exist(page: Path) -> None:
    """A module that moves leaves no stale path behind."""
    assert missing(page.read_text(encoding="utf-8")) == []


def test_a_path_that_does_not_exist_is_found() -> None:
    """Including links, wildcards and folders; a longer word that contains a folder's name is no path."""
    text = "`extender/gone.py`, [x](docs/README.md#top), `tests/e2e/test_admission*.py`, bench/, gpupack-extender/x"
    assert missing(text) == ["extender/gone.py"]
