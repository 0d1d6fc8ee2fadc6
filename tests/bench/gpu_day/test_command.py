"""The command, as a process: on stand-ins, on a driver without CUDA, without a driver, and told to stop."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench.gpu_day.answers import OPEN, DayAnswer
from bench.gpu_day.command import report
from bench.gpu_day.findings import Findings
from bench.gpu_day.order import STAGES
from bench.gpu_day.results import DayResult, Status, read_result
from bench.simulated.nvml.driver import Model, SimulatedDriver
from bench.simulated.waiting import wait_until
from tests.device_plugin.drivers import library
from tests.fakes.cuda import build_cuda
from tests.fakes.mps_daemon import install_mps

ROOT = Path(__file__).parents[3]
PATIENT_S = 100.0
MARK = "GPUPACK_TEST_DAY"
"""A variable that every process of a day under test inherits."""


def start(file: Path, *options: str, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """The day as a process whose children can be told by the result's file."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "gpu-day", "--json", str(file), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), MARK: str(file), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(file: Path, *options: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and output of a whole day."""
    with start(file, *options, environment=environment or {}) as process:
        output, _ = process.communicate(timeout=PATIENT_S)
    return process.returncode, output


def left_behind(file: Path) -> list[str]:
    """The processes of that day that still run."""
    mark = f"{MARK}={file}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                is_ours = mark in (process / "environ").read_bytes()
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found += [command] if is_ours else []
    return found


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SimulatedDriver]:
    """A machine with an NVIDIA driver and one GPU, but without CUDA and MPS."""
    (tmp_path / "nvml").mkdir()
    found = SimulatedDriver(tmp_path / "nvml", library(), Model("Tesla T4", 15360, 450))
    yield found
    found.close()


def test_a_dry_run_goes_through_every_stage(tmp_path: Path) -> None:
    """On stand-ins, and says so; nothing is left behind, and every question that they can answer has an answer."""
    library()
    file = tmp_path / "day.json"
    status, output = run(file, "--dry-run")
    result = read_result(file)
    expected = {**expected_stages(Status.DONE), "fault": Status.SKIPPED}
    assert {name: each.status for name, each in result.stages.items()} == expected, output
    assert (status, result.dry_run, left_behind(file)) == (0, True, [])
    assert "DRY RUN on stand-ins: nothing below says anything about a GPU" in output
    unanswered = [row.question for row in result.answers if row.answer.startswith(OPEN)]
    assert [
        question for question in unanswered if "is ended by" not in question and "the MPS server" not in question
    ] == ["gpupack's own tests on real hardware"]
    assert "| launch | 2 | mps |" in output
    assert result.findings.watched is not None
    assert (result.findings.watched.gpu_per_context_mib, result.findings.watched.pids_match) == (300.0, True)


def expected_stages(status: Status) -> dict[str, Status]:
    """Every stage with one status."""
    return {stage.name: status for stage in STAGES}


def test_a_driver_without_cuda_is_measured_and_the_rest_is_skipped_with_a_reason(
    tmp_path: Path, driver: SimulatedDriver
) -> None:
    """Nothing is claimed of what was not measured."""
    file = tmp_path / "day.json"
    status, output = run(file, environment=driver.environment())
    result = read_result(file)
    skipped = {"watched", "limits", "colocate"}
    expected = {**expected_stages(Status.DONE), **dict.fromkeys((*skipped, "fault"), Status.SKIPPED)}
    assert {name: each.status for name, each in result.stages.items()} == expected, output
    assert {result.stages[name].why for name in skipped} == {
        "no CUDA program works here: libcuda.so.1 cannot be loaded"
    }
    assert (status, "Tesla T4, driver 580.95.05" in output) == (0, True)
    assert (result.findings.watched, result.findings.limits) == (None, None)
    assert "| MPS holds a client to its limit (malloc) | not measured |" in output


def test_few_packages_are_needed(tmp_path: Path) -> None:
    """A machine with a GPU may have no network to install the others from; torch is for the servers alone."""
    library()
    blocked = "grpc", "kubernetes", "prometheus_client", "yaml", "flask", "torch", "numpy", "hypothesis"
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"from bench.cli import main\nmain(['gpu-day', '--dry-run', '--json', {str(tmp_path / 'day.json')!r}, "
        "'--only', 'facts', '--only', 'nvml', '--only', 'watched'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=False, timeout=PATIENT_S, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    stages = read_result(tmp_path / "day.json").stages
    assert {stage.status for stage in stages.values()} == {Status.DONE}


@pytest.fixture
def machine(tmp_path: Path, driver: SimulatedDriver) -> Mapping[str, str]:
    """The variables of a machine with a driver, CUDA and MPS, all of them stand-ins that the command takes for real."""
    environment = driver.environment()
    libraries = f"{environment['LD_LIBRARY_PATH']}:{build_cuda(tmp_path / 'cuda')}"
    path = f"{install_mps(tmp_path / 'bin')}:{os.environ['PATH']}"
    return {**environment, "LD_LIBRARY_PATH": libraries, "PATH": path}


def test_a_whole_machine_is_tried_without_the_option_of_a_dry_run(tmp_path: Path, machine: Mapping[str, str]) -> None:
    """The stages that need CUDA and MPS run as on a real one."""
    file = tmp_path / "day.json"
    status, output = run(file, "--only", "watched", "--only", "limits", environment=machine)
    result = read_result(file)
    assert {each.status for each in result.stages.values()} == {Status.DONE}, output
    assert "MPS holds a client to its limit (vmm) | yes: 2048 of 2048 MiB taken" in output
    assert (status, result.dry_run, left_behind(file)) == (0, False, [])


def test_its_own_mps_daemon_ends_with_the_day(tmp_path: Path, machine: Mapping[str, str]) -> None:
    """Also when the day is stopped, with the daemon's folder."""
    file = tmp_path / "day.json"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with start(file, "--only", "limits", environment={**machine, "TMPDIR": str(temporary)}) as process:
        wait_until(lambda: found_in(file, "limits"), "its first finding", timeout_s=PATIENT_S)
        daemons = [command for command in left_behind(file) if command.endswith("nvidia-cuda-mps-control -f ")]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENT_S)
    assert (len(daemons), process.returncode) == (1, 130)
    assert (left_behind(file), list(temporary.iterdir())) == ([], [])


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv, which ties the daemon to the day")
def test_nothing_of_the_day_outlives_a_killed_one(tmp_path: Path, machine: Mapping[str, str]) -> None:
    """Its children's input ends, and the kernel ends its daemon."""
    file = tmp_path / "day.json"
    with start(file, "--only", "limits", environment={**machine, "TMPDIR": str(tmp_path)}) as process:
        wait_until(lambda: found_in(file, "limits"), "its first finding", timeout_s=PATIENT_S)
        process.kill()
        process.communicate(timeout=PATIENT_S)
    wait_until(lambda: not left_behind(file), "its processes to end", timeout_s=PATIENT_S)
    assert read_result(file).stages["limits"].status is Status.RUNNING


def test_crashes_run_on_stand_ins(tmp_path: Path) -> None:
    """Only when asked for; nobody is hurt there."""
    library()
    file = tmp_path / "day.json"
    status, output = run(file, "--dry-run", "--only", "fault", "--with-fault")
    found = read_result(file).findings.fault
    assert status == 0, output
    assert found is not None
    assert [(trial.mode, trial.victim_after, trial.error) for trial in found.trials] == [
        ("time-sliced", 0, ""),
        ("time-sliced", 0, ""),
        ("mps", 0, ""),
        ("mps", 0, ""),
    ]
    assert (found.xids, found.problem) == ({}, "")


def test_nothing_on_the_gpu_is_changed(tmp_path: Path, driver: SimulatedDriver) -> None:
    """The driver's state is as before, and its sessions are closed."""
    before = bytes(driver.gpus[0])
    run(tmp_path / "day.json", "--only", "facts", "--only", "nvml", environment=driver.environment())
    assert (bytes(driver.gpus[0]) == before, driver.state.sessions) == (True, 0)
    assert driver.state.calls > 0


def test_a_machine_without_a_gpu_is_told_so(tmp_path: Path) -> None:
    """With a file that claims nothing."""
    file = tmp_path / "day.json"
    status, output = run(file)
    if "NVML cannot start" not in output:
        pytest.skip("this machine has a driver")
    assert (status, read_result(file).findings) == (1, Findings())


def found_in(file: Path, stage: str) -> object:
    """What a stage has found so far; None for nothing."""
    return getattr(read_result(file).findings, stage) if file.exists() else None


@pytest.mark.parametrize(("number", "stage"), [(signal.SIGINT, "limits"), (signal.SIGTERM, "colocate")])
def test_a_day_that_is_told_to_stop_leaves_what_it_had(tmp_path: Path, number: signal.Signals, stage: str) -> None:
    """And no process."""
    library()
    file = tmp_path / "day.json"
    with start(file, "--dry-run", "--only", "facts", "--only", stage, environment={}) as process:
        wait_until(lambda: found_in(file, stage), "its first finding", timeout_s=PATIENT_S)
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENT_S)
    result = read_result(file)
    assert process.returncode == 130, output
    assert (result.stages["facts"].status, result.stages[stage].status) == (Status.DONE, Status.INTERRUPTED)
    assert found_in(file, stage) is not None
    assert left_behind(file) == []


def test_questions_of_stages_that_did_not_run_are_left_out_on_request() -> None:
    """With `--only`, what was not asked for is not missed; what was tried without an answer still is."""
    rows = (DayAnswer("a", "yes"), DayAnswer("b", OPEN), DayAnswer("c", f"{OPEN}: no answer"))
    result = DayResult(begun="now", dry_run=False, budget_s=1.0, answers=rows)
    shown = [re.findall(r"^\| (\w) ", report(result, only_measured=only), re.MULTILINE) for only in (False, True)]
    assert shown == [["a", "b", "c"], ["a", "c"]]
