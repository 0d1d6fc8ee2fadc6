"""The command, as a process: on stand-ins, on a driver without CUDA, without a driver, and told to stop."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.gpu_day.answers import OPEN, DayAnswer
from bench.gpu_day.command import OPENING, report
from bench.gpu_day.command import command as gpu_day
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
    return {OPENING: Status.DONE, **{stage.name: status for stage in STAGES}}


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
    """With a file that claims nothing and says why."""
    file = tmp_path / "day.json"
    status, output = run(file)
    if "NVML cannot start" not in output:
        pytest.skip("this machine has a driver")
    result = read_result(file)
    assert (status, result.findings, list(result.stages)) == (1, Findings(), [OPENING])
    assert (result.stages[OPENING].status, result.stages[OPENING].why[:17]) == (Status.FAILED, "NVML cannot start")


IMPATIENT = """
import sys
from bench.gpu_day import hanging
from bench.cli import main
hanging.GRACE_S = 0.3
main(sys.argv[1:])
"""


@dataclass(frozen=True, slots=True)
class Hang:
    """A call that does not return, while one stage is asked for; `told` is the stage that is said to hang."""

    gpu: int | None
    call: str
    only: str
    told: str


@pytest.mark.parametrize(
    "hang",
    [
        Hang(None, "INIT", "facts", OPENING),
        Hang(0, "MEMORY_V2", "facts", OPENING),
        Hang(0, "COMPUTE_PROCESSES", "facts", OPENING),
        Hang(0, "NAME", "facts", "facts"),
        Hang(None, "SHUTDOWN", "facts", "facts"),
        Hang(None, "SHUTDOWN", "limits", "letting the GPU go"),
    ],
)
def test_a_driver_that_hangs_ends_the_day_with_the_stage_in_the_file(
    tmp_path: Path, driver: SimulatedDriver, hang: Hang
) -> None:
    """A call that never returns can't be stopped, so that the process ends itself; the report is printed before."""
    file = tmp_path / "day.json"
    driver.hang(hang.gpu, hang.call)
    command = [
        sys.executable,
        "-c",
        IMPATIENT,
        "gpu-day",
        "--json",
        str(file),
        "--budget-s",
        "2.5",
        "--only",
        hang.only,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **driver.environment()}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, timeout=PATIENT_S, capture_output=True, text=True
    )
    driver.release()
    found = read_result(file).stages[hang.told]
    assert (done.returncode, found.status, found.why) == (3, Status.FAILED, "it hung, and the day was ended"), done
    assert f"{hang.told}: failed in" in done.stdout
    assert "| question | answer |" in done.stdout


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/dev/null", "is not a file"),
        ("/proc/day.json", "cannot be written: No such file or directory"),
        ("missing/day.json", "cannot be written: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, target: str, why: str) -> None:
    """Before anything runs; what is at the place stays."""
    status, output = run(tmp_path / target, "--dry-run")
    assert (status, why in output, "Traceback" in output) == (2, True, False), output
    assert Path("/dev/null").is_char_device()


def test_a_link_to_the_file_stays_one(tmp_path: Path, driver: SimulatedDriver) -> None:
    """The file behind it is written."""
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "day.json")
    run(link, "--only", "facts", environment=driver.environment())
    assert (link.is_symlink(), read_result(tmp_path / "day.json").stages["facts"].status) == (True, Status.DONE)


def test_a_folder_that_goes_away_does_not_end_the_day(tmp_path: Path, driver: SimulatedDriver) -> None:
    """It is told once, the report is printed, and the status says that the file is not there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "day.json"
    driver.hang(0, "MEMORY_V2")
    with start(file, "--only", "facts", "--only", "nvml", environment=driver.environment()) as process:
        wait_until(lambda: file.exists() and OPENING in read_result(file).stages, "the day", timeout_s=PATIENT_S)
        shutil.rmtree(folder)
        driver.release()
        output, _ = process.communicate(timeout=PATIENT_S)
    assert (process.returncode, output.count("the day goes on"), "Traceback" in output) == (1, 1, False), output
    assert "Tesla T4, driver 580.95.05" in output
    assert f"Error: {file} cannot be written" in output


@pytest.mark.parametrize("options", [("--budget-s", "1"), ("--budget-s", "20", "--only", "limits")])
def test_a_budget_without_time_for_anything_is_no_success(
    tmp_path: Path, driver: SimulatedDriver, options: tuple[str, ...]
) -> None:
    """And says so."""
    status, output = run(tmp_path / "day.json", *options, environment=driver.environment())
    assert (status, "there was no time for any stage" in output) == (1, True), output


@pytest.mark.parametrize("option", ["--budget-s", "--run-s"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "x"])
def test_times_are_numbers(tmp_path: Path, option: str, value: str) -> None:
    """Not those that are in every range, either."""
    done = CliRunner().invoke(gpu_day, ["--json", str(tmp_path / "day.json"), option, value])
    assert (done.exit_code, option in done.output, list(tmp_path.iterdir())) == (2, True, [])


INTERRUPTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupts:
    def find_spec(self, name, *_):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

wanted = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupts())
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["click", "bench.cli", "bench.gpu_day.command", "device_plugin.sampling.nvml"])
def test_a_day_that_is_interrupted_while_it_is_loaded_says_nothing(tmp_path: Path, module: str) -> None:
    """Neither a traceback nor that something failed."""
    command = [sys.executable, "-c", INTERRUPTED, module, "gpu-day", "--json", str(tmp_path / "day.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, timeout=PATIENT_S, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def found_in(file: Path, stage: str) -> object:
    """What a stage has found so far; None for nothing."""
    return getattr(read_result(file).findings, stage) if file.exists() else None


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "limits"),
        (signal.SIGTERM, "colocate"),
        (signal.SIGHUP, "limits"),
        (signal.SIGQUIT, "limits"),
    ],
)
def test_a_day_that_is_told_to_stop_leaves_what_it_had(tmp_path: Path, number: signal.Signals, stage: str) -> None:
    """And neither a process nor a folder."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("these tests were started to outlive their terminal")
    library()
    file = tmp_path / "day.json"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary)}
    with start(file, "--dry-run", "--only", "facts", "--only", stage, environment=environment) as process:
        wait_until(lambda: found_in(file, stage), "its first finding", timeout_s=PATIENT_S)
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENT_S)
    result = read_result(file)
    assert process.returncode == 130, output
    assert (result.stages["facts"].status, result.stages[stage].status) == (Status.DONE, Status.INTERRUPTED)
    assert found_in(file, stage) is not None
    assert (left_behind(file), list(temporary.glob("gpu-day-*"))) == ([], [])


def test_questions_of_stages_that_did_not_run_are_left_out_on_request() -> None:
    """With `--only`, what was not asked for is not missed; what was tried without an answer still is."""
    rows = (DayAnswer("a", "yes"), DayAnswer("b", OPEN), DayAnswer("c", f"{OPEN}: no answer"))
    result = DayResult(begun="now", dry_run=False, budget_s=1.0, answers=rows)
    shown = [re.findall(r"^\| (\w) ", report(result, only_measured=only), re.MULTILINE) for only in (False, True)]
    assert shown == [["a", "b", "c"], ["a", "c"]]
