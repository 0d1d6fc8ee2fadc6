"""Runs containerd for one kubelet: programs in, a CRI socket with the idle image out, and nothing left at the end."""

import contextlib
import io
import json
import os
import signal
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

from bench.simulated.processes import ServerProcess
from bench.simulated.waiting import wait_until
from tests.e2e.binaries import Binaries
from tests.e2e.podspecs import IDLE_IMAGE

START_TIMEOUT_S = 180
COMMAND_TIMEOUT_S = 120

# `restrict_oom_score_adj`: without it runc dies where the test run may not lower its own score, as in a container.
# `native`: copies files, where the overlay file system may be missing; the image is small.
CONFIG = """\
version = 3
root = '{folder}/root'
state = '{folder}/state'

[grpc]
  address = '{socket}'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{folder}/cni']
    conf_dir = '{folder}/cni-conf'
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      snapshotter = 'native'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '{binaries}/runc-without-seccomp'
        SystemdCgroup = false

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'native'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{image}'

[plugins.'io.containerd.nri.v1.nri']
  disable = true
"""

# A node is Ready only when it has a network plugin. Pods on the host's network never call it.
CNI_PLUGIN = """\
#!/bin/sh
cat >/dev/null
echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
"""
CNI_CONFIG = {"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "none"}]}


class ContainerRuntime:
    """containerd with runc, all of whose files are under `folder`."""

    def __init__(self, binaries: Binaries, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self.socket = folder / "containerd.sock"
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Start containerd and import the image that test pods run."""
        self._write_files()
        # containerd finds its shim through PATH.
        env = {**os.environ, "PATH": f"{self._binaries.folder}:{os.environ.get('PATH', '')}"}
        command = [str(self._binaries.folder / "containerd"), f"--config={self._folder}/config.toml"]
        self._process = ServerProcess("containerd", command, log=self._folder / "containerd.log", env=env)
        self._process.wait_ready(self._not_ready_because, timeout_s=START_TIMEOUT_S)
        archive = self._folder / "idle.tar"
        archive.write_bytes(image_archive((self._binaries.folder / "idle").read_bytes()))
        self._ctr("images", "import", "--local", "--snapshotter=native", str(archive))

    def stop(self) -> None:
        """End all containers, containerd and what they have mounted; harmless when nothing runs."""
        if self._process is not None:
            if self._process.is_running:
                self._end_tasks()
            self._process.kill()
            self._process = None
        clean_up(self._folder)

    def _end_tasks(self) -> None:
        try:
            tasks = self._ctr("tasks", "list", "--quiet").split()
            if tasks:
                self._ctr("tasks", "delete", "--force", *tasks)
        except (RuntimeError, subprocess.TimeoutExpired):
            return  # a container may end meanwhile; clean_up ends what is left

    def _not_ready_because(self) -> str | None:
        try:
            self._ctr("plugins", "list", "--quiet")
        except RuntimeError as error:
            return str(error)
        return None

    def _ctr(self, *arguments: str) -> str:
        command = [str(self._binaries.folder / "ctr"), f"--address={self.socket}", "--namespace=k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)
        if done.returncode != 0:
            raise RuntimeError(f"ctr {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        return done.stdout

    def _write_files(self) -> None:
        plugins, configs = self._folder / "cni", self._folder / "cni-conf"
        plugins.mkdir(parents=True)
        configs.mkdir()
        for name in ("none", "loopback"):
            (plugins / name).write_text(CNI_PLUGIN, encoding="utf-8")
            (plugins / name).chmod(0o755)
        (configs / "10-none.conflist").write_text(json.dumps(CNI_CONFIG), encoding="utf-8")
        config = CONFIG.format(
            folder=self._folder, socket=self.socket, binaries=self._binaries.folder, image=IDLE_IMAGE
        )
        (self._folder / "config.toml").write_text(config, encoding="utf-8")


def image_archive(program: bytes) -> bytes:
    """A container image with one program as its entry point, in the format of `docker save`.

    Format: https://github.com/moby/moby/blob/master/image/spec/v1.2.md ("Combined Image JSON + Filesystem Changeset").
    """
    layer = _tar({"idle": (program, 0o755)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/idle"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IDLE_IMAGE], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "layer.tar": (layer, 0o644),
            "config.json": (json.dumps(config).encode(), 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def clean_up(folder: Path) -> None:
    """End every process that was started with a path of `folder` and unmount what is mounted below it."""
    for process in _processes_naming(str(folder)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    wait_until(lambda: not _processes_naming(str(folder)), what=f"the end of the processes of {folder}", timeout_s=120)
    for mount in reversed(_mounts_below(folder)):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True, timeout=30)


def remove_pod_cgroups(root: Path = Path("/sys/fs/cgroup")) -> None:
    """Remove the empty control groups that a kubelet leaves behind for each pod, in all hierarchies."""
    for top in [*root.glob("kubepods"), *root.glob("*/kubepods")]:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # still in use
                Path(folder).rmdir()


def _processes_naming(text: str) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if text.encode() in command:
            found.append(int(process.name))
    return found


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [target for target in (line.split()[1] for line in lines) if target.startswith(f"{folder}/")]


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
