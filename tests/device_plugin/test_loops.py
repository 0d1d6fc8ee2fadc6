"""A loop that dies takes the plugin with it, and its reason is kept."""

import threading

import pytest

from device_plugin.loops import Loops
from device_plugin.settings import SettingsError


def test_loops_run_until_told_to_stop() -> None:
    """And then there is nothing to complain of."""

    def wait(stop: threading.Event) -> None:
        stop.wait()

    stop = threading.Event()
    loops = Loops(stop, "n1")
    loops.start("waiting", wait)
    stop.set()
    loops.join(10.0)
    loops.check()
    assert loops.problem() == ""


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (SettingsError("choose a larger unit"), SettingsError, "choose a larger unit"),
        (KeyError("a bug"), RuntimeError, "KeyError: 'a bug'"),
    ],
)
def test_a_loop_that_dies_stops_all(error: Exception, kind: type[Exception], words: str) -> None:
    """Settings that cannot work keep their kind; anything else is a bug."""

    def die(_: threading.Event) -> None:
        raise error

    stop = threading.Event()
    loops = Loops(stop, "n1")
    loops.start("dying", die)
    loops.join(10.0)
    with pytest.raises(kind, match=words):
        loops.check()
    assert stop.is_set()
