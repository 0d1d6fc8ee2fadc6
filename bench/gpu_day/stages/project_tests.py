"""Runs the project's tests of real drivers and GPUs, and notes which passed, failed or were skipped, and why."""

import importlib.util
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bench.gpu_day.children import ChildError, finished, python_environment
from bench.gpu_day.day import Day, SkipError
from bench.simulated.processes import ROOT

FILES = (
    "tests/device_plugin/sampling/test_nvml_contract.py",
    "tests/device_plugin/enforcing/test_hardware.py",
)
_PYTEST_ALONE = ("--noconftest", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestConfigWarning")
"""So that pytest suffices, without the plugins and packages that the whole suite needs, and nothing is left behind."""

_TAIL = 2000


@dataclass(frozen=True, slots=True)
class OneTest:
    """A test, and what pytest said of it."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class ProjectTests:
    """How the tests ended; `output` is the end of what pytest wrote if any failed."""

    passed: tuple[str, ...]
    failed: tuple[OneTest, ...]
    skipped: tuple[OneTest, ...]
    output: str = ""


def project_tests(day: Day) -> Generator[ProjectTests, None, None]:
    """The tests on this machine's driver; those of the simulated one run beside them.

    Raises:
        SkipError: they cannot be run here, or did not end in time.
    """
    missing = [file for file in FILES if not (ROOT / file).exists()]
    if missing:
        raise SkipError(f"{missing[0]} is missing: run it from a checkout")
    if importlib.util.find_spec("pytest") is None:
        raise SkipError("pytest is not installed")
    with tempfile.TemporaryDirectory(prefix="gpu-day-tests-") as folder:
        report = Path(folder) / "tests.xml"
        options = [*_PYTEST_ALONE, f"--junitxml={report}", f"--basetemp={folder}/pytest"]
        command = [sys.executable, "-m", "pytest", "-q", *options, *FILES]
        try:
            status, output = finished(command, day.timer.left_s, python_environment({}))
        except ChildError as error:
            raise SkipError(f"the tests: {error}") from error
        if not report.exists():
            raise SkipError(f"pytest ended with status {status}: {output[-_TAIL:]}")
        yield results_of(report.read_text(encoding="utf-8"), output)


def results_of(junit: str, output: str) -> ProjectTests:
    """The results in a report of pytest's."""
    passed, failed, skipped = [], [], []
    for case in ElementTree.fromstring(junit).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        name = case.get("name", "")
        bad = [each for kind in ("failure", "error") for each in case.iter(kind)]
        if bad:
            failed.append(OneTest(name, bad[0].get("message", "")[:_TAIL]))
        elif (left := case.find("skipped")) is not None:
            skipped.append(OneTest(name, left.get("message", "")))
        else:
            passed.append(name)
    return ProjectTests(tuple(passed), tuple(failed), tuple(skipped), output[-_TAIL:] if failed else "")
