"""The table of commands: what `kubectl gpupack NAME` runs, and where it is; nothing is imported before it is run."""

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "pods": "extender.kubectl.pods:command",
    "top": "extender.kubectl.top:command",
}
"""Name of a command to `module:attribute` of its click command."""
