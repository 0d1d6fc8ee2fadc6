"""A signal sets the event, whenever it comes."""

import os
import signal
import subprocess
import sys
import time

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


WAITING = """
import threading
from device_plugin.loops import stopping_at_signals
stop = threading.Event()
with stopping_at_signals(stop):
    print("waiting", flush=True)
    print(stop.wait(60.0), flush=True)
"""


def test_a_process_that_is_stopped_and_continued_goes_on() -> None:
    """As a debugger, a checkpoint or a paused machine does it; it still ends at SIGTERM."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        for _ in range(2):
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            # Longer than any wait that a program might look at the time between.
            time.sleep(0.7)
            process.send_signal(signal.SIGCONT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert (process.stdout.read(), process.wait(20.0)) == ("True\n", 0)
