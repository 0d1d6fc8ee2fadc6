"""The table of commands: what `kubectl gpupack NAME` runs, and where it is; nothing is imported before it is run."""

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "cordon": "extender.kubectl.cordon:cordon",
    "cost": "extender.kubectl.cost:command",
    "drain-advice": "extender.kubectl.drain_advice:command",
    "doctor": "extender.kubectl.doctor:command",
    "explain": "extender.kubectl.explain:command",
    "pods": "extender.kubectl.pods:command",
    "simulate": "extender.kubectl.simulate:command",
    "size-advice": "extender.kubectl.size_advice:command",
    "top": "extender.kubectl.top:command",
    "uncordon": "extender.kubectl.cordon:uncordon",
}
"""Name of a command to `module:attribute` of its click command."""
