"""Runs a command as a container's security context says: no writable root, no capabilities, nothing to gain by exec.

All but the user: the Python of these tests may be where only its owner can read it. Needs root and mount namespaces;
where there are none the command runs as it is.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

RESTRICTED = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_SETPRIV = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]


def confined(command: Sequence[str], container: Mapping[str, Any], writable: Sequence[Path] = ()) -> list[str]:
    """The command that runs `command` so; folders in `writable` stay so, as volumes do.

    Raises:
        ValueError: the container is allowed more than these tests know to take away.
    """
    context = container["securityContext"]
    allowed = {name: context.get(name) for name in RESTRICTED}
    if allowed != RESTRICTED:
        raise ValueError(f"container {container['name']}: securityContext has {allowed}, expected {RESTRICTED}")
    if not is_possible():
        return list(command)
    return _confining(command, writable)


@cache
def is_possible() -> bool:
    """Whether this machine lets us."""
    if os.getuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    tried = subprocess.run(_confining(["true"], ()), capture_output=True, check=False, timeout=30)
    return tried.returncode == 0


def _confining(command: Sequence[str], writable: Sequence[Path]) -> list[str]:
    kept = [f"mount --bind {shlex.quote(str(each))} {shlex.quote(str(each))}" for each in writable]
    steps = [*kept, "mount -o remount,bind,ro /", f"exec {shlex.join([*_SETPRIV, *command])}"]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", "\n".join(steps)]
