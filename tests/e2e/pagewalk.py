"""Runs the `sh` blocks of a page of the documentation, one after the other, as an admin of a test's cluster."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.docs.pages import REPOSITORY, fences
from tests.e2e.controlplane import ControlPlane
from tests.e2e.shell import run_written

TIMEOUT_S = 120


class PageWalk:
    """A folder like a fresh clone, an admin's kubeconfig, and the programs of the cluster in the PATH.

    Args:
        control_plane: the cluster.
        folder: an empty folder; `clone` in it is where the commands run.
        replacing: what stands in the page, and what it is here.
        programs: folders with more programs.
    """

    def __init__(
        self, control_plane: ControlPlane, folder: Path, replacing: Mapping[str, str], programs: tuple[Path, ...] = ()
    ) -> None:
        self.clone = folder / "clone"
        self.clone.mkdir()
        shutil.copytree(REPOSITORY / "manifests", self.clone / "manifests")
        home = folder / "home"
        (home / ".kube").mkdir(parents=True)
        shutil.copy(control_plane.admin_kubeconfig, home / ".kube" / "config")
        self._replacing = replacing
        path = [*map(str, programs), str(control_plane.binaries.kubectl.parent), os.environ["PATH"]]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HELM"))}
        self._environment = {**kept, "HOME": str(home), "PATH": ":".join(path), "NO_PROXY": "127.0.0.1"}

    def blocks(self, page: str) -> list[str]:
        """The page's blocks of commands."""
        return [fence.text for fence in fences(REPOSITORY / page) if fence.language == "sh"]

    def run(self, text: str) -> str:
        """Run a block as it is written but for what is replaced; returns what it printed.

        Raises:
            RuntimeError: it failed; the message is what it said.
        """
        for written, here in self._replacing.items():
            text = text.replace(written, here)
        return run_written(text, folder=self.clone, environment=self._environment, timeout_s=TIMEOUT_S)
