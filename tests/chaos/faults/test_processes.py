"""The tools that the faults of the extender's process need do what they are for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.faults.processes import build_clock, no_compiler


@pytest.mark.skipif(bool(no_compiler()), reason=no_compiler())
def test_the_clock_of_one_program_can_be_shifted_while_it_runs(tmp_path: Path) -> None:
    """The wall clock jumps, the monotonic one goes on."""
    shift = tmp_path / "clock"
    shift.write_text("3600", encoding="ascii")
    program = (
        "import time, pathlib, sys\n"
        "before = time.monotonic(); print(time.time())\n"
        "pathlib.Path(sys.argv[1]).write_text('-3600')\n"
        "print(time.time()); print(time.monotonic() - before)\n"
    )
    environment = {**os.environ, "LD_PRELOAD": str(build_clock(tmp_path)), "GPUPACK_CHAOS_CLOCK": str(shift)}
    command = [sys.executable, "-c", program, str(shift)]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    later, earlier, passed_s = map(float, shown.split())
    now_s = time.time()
    assert (round((later - now_s) / 60), round((earlier - now_s) / 60)) == (60, -60)
    assert 0 <= passed_s < 60
