"""Restores etcd from a backup, as an operator does after a disaster: kube-apiserver stops, and starts on older data."""

import base64
import shutil
import signal
from pathlib import Path

import msgspec
import urllib3

from tests.e2e.controlplane import ControlPlane

ADDED_REVISIONS = 3000
"""More than a test writes between backup and restore."""

_FILLER = base64.b64encode(b"/gpupack-e2e/filler").decode()


def back_up(control_plane: ControlPlane, folder: Path) -> Path:
    """Copy etcd's data into a new folder, and return it.

    etcd stands still meanwhile, so that its files are those of one moment.
    """
    etcd = control_plane.server("etcd")
    etcd.signal(signal.SIGSTOP)
    try:
        shutil.copytree(control_plane.store_folder, folder)
    finally:
        etcd.signal(signal.SIGCONT)
    return folder


def restore(control_plane: ControlPlane, backup: Path, *, bumped: bool) -> None:
    """Put a backup in etcd's place, and start kube-apiserver on it.

    Not bumped, revisions begin again where they were at the time of the backup, as after `etcdutl snapshot restore`
    without options. Bumped, they go on beyond all that was ever seen and those before are compacted, as with
    `--bump-revision` and `--mark-compacted`: the same comes of that many writes and a compaction.
    """
    for name in ("kube-apiserver", "etcd"):
        control_plane.server(name).stop()
    shutil.rmtree(control_plane.store_folder)
    shutil.copytree(backup, control_plane.store_folder)
    control_plane.start_server("etcd")
    if bumped:
        _bump(control_plane.store_url)
    control_plane.start_server("kube-apiserver")


def _bump(store_url: str) -> None:
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        revision = 0
        for _ in range(ADDED_REVISIONS):
            revision = _asked(pool, f"{store_url}/v3/kv/put", {"key": _FILLER, "value": ""})
        _asked(pool, f"{store_url}/v3/kv/compaction", {"revision": str(revision)})


def _asked(pool: urllib3.PoolManager, url: str, body: dict[str, str]) -> int:
    """The revision that etcd's JSON gateway answers with."""
    reply = pool.request("POST", url, body=msgspec.json.encode(body))
    if reply.status != 200:
        raise RuntimeError(f"{url} answered {reply.status}: {reply.data[:300]!r}")
    return int(msgspec.json.decode(reply.data)["header"]["revision"])
