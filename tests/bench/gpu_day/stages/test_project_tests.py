"""What pytest reports is kept: which tests passed, failed, or were skipped and why."""

from bench.gpu_day.stages.project_tests import FILES, OneTest, ProjectTests, results_of
from bench.simulated.processes import ROOT

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="a" name="test_good"/>
<testcase classname="a" name="test_bad"><failure message="assert 1 == 2">trace</failure></testcase>
<testcase classname="a" name="test_broken"><error message="no fixture">trace</error></testcase>
<testcase classname="a" name="test_left"><skipped type="pytest.skip" message="no driver">x</skipped></testcase>
</testsuite></testsuites>"""


def test_each_test_is_in_one_list() -> None:
    """An error of a fixture is a failure."""
    failed = (OneTest("test_bad", "assert 1 == 2"), OneTest("test_broken", "no fixture"))
    found = results_of(REPORT, "the end")
    assert found == ProjectTests(("test_good",), failed, (OneTest("test_left", "no driver"),), "the end")


def test_the_output_is_kept_only_of_failures() -> None:
    """What passed needs no explanation."""
    assert results_of("<testsuites><testcase name='a'/></testsuites>", "dots") == ProjectTests(("a",), (), ())


def test_the_tests_are_there() -> None:
    """Their files have these names."""
    assert [file for file in FILES if not (ROOT / file).exists()] == []
