"""Finds the Kubernetes programs on this machine, or says in a sentence how to get them."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUILD_SCRIPT = Path(__file__).parent / "kubernetes" / "build.sh"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "runc-without-seccomp", "idle")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder that holds all programs of the control plane, and perhaps those of a node."""

    folder: Path

    def __post_init__(self) -> None:
        missing = _missing(self.folder, CONTROL_PLANE)
        if missing:
            raise ValueError(f"{self.folder} lacks {', '.join(missing)}")

    @property
    def etcd(self) -> Path:
        """The key-value store behind kube-apiserver."""
        return self.folder / "etcd"

    @property
    def kube_apiserver(self) -> Path:
        """The API server."""
        return self.folder / "kube-apiserver"

    @property
    def kube_controller_manager(self) -> Path:
        """The controllers: garbage collector, service accounts, deployments, ..."""
        return self.folder / "kube-controller-manager"

    @property
    def kube_scheduler(self) -> Path:
        """The stock scheduler."""
        return self.folder / "kube-scheduler"

    @property
    def kubectl(self) -> Path:
        """The command-line client."""
        return self.folder / "kubectl"

    @property
    def missing_for_a_node(self) -> tuple[str, ...]:
        """The names of what a real node needs and the folder does not have."""
        return _missing(self.folder, NODE)


def find_binaries(environ: Mapping[str, str] = os.environ) -> Binaries | str:
    """Look in KUBEBUILDER_ASSETS when it is set, else in the cache of `make kubernetes`.

    KUBEBUILDER_ASSETS is the convention of Kubernetes' envtest; its downloads have no kube-scheduler, so one
    must be added to them. Returns the programs, or why there are none and what to do about it.
    """
    assets = environ.get("KUBEBUILDER_ASSETS")
    if assets:
        missing = _missing(Path(assets), CONTROL_PLANE)
        if missing:
            names = ", ".join(missing)
            return f"KUBEBUILDER_ASSETS={assets} lacks {names}: add them, or unset it and run `make kubernetes`"
        return Binaries(Path(assets))
    looked_up = subprocess.run(
        [str(BUILD_SCRIPT), "--where"], capture_output=True, text=True, check=False, env=dict(environ), timeout=60
    )
    if looked_up.returncode != 0:
        return f"no Kubernetes programs: set KUBEBUILDER_ASSETS or run `make kubernetes` ({looked_up.stderr.strip()})"
    folder = Path(looked_up.stdout.strip())
    if _missing(folder, CONTROL_PLANE):
        return "the Kubernetes programs are not built yet: run `make kubernetes`, or set KUBEBUILDER_ASSETS"
    return Binaries(folder)


def _missing(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not os.access(folder / name, os.X_OK))
