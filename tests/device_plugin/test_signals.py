"""A signal sets the event, whenever it comes."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, threading
from device_plugin.loops import stopping_at_signals
stop = threading.Event()
with stopping_at_signals(stop):
    os.kill(os.getpid(), signal.{name})
    print(stop.wait(20.0))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == set())
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_right_before_the_wait_is_not_lost(name: str) -> None:
    """And afterwards nothing is blocked any more."""
    program = [sys.executable, "-c", PROGRAM.format(name=name)]
    found = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.split() == ["True", "True"]
