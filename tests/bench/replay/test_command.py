"""`python -m bench replay` writes what scripts read, and says what is wrong with a question."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from bench.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic trace."""
    path = tmp_path_factory.mktemp("trace")
    result = CliRunner().invoke(main, ["trace", "--nodes", "8", "--pods", "60", "--out", str(path)])
    assert result.exit_code == 0, result.output
    return path


def _replay(folder: Path, *words: str) -> Result:
    files = ["--nodes", str(folder / "nodes.csv"), "--pods", str(folder / "pods.csv")]
    return CliRunner().invoke(main, ["replay", *files, "--processes", "1", *words])


def test_figures_come_as_a_table_json_csv_and_a_figure(folder: Path, tmp_path: Path) -> None:
    """The JSON has the form that scripts rely on."""
    out = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "svg")}
    words = ["--json", str(out["json"]), "--csv", str(out["csv"]), "--plot", str(out["svg"]), "--bound"]
    result = _replay(folder, "--policy", "best-fit,price-fit@list", "--seeds", "42,43", *words)
    assert result.exit_code == 0, result.output
    told = json.loads(out["json"].read_text())
    mean = told["policies"]["best-fit"]["mean"]
    assert list(told["policies"]["price-fit@list"]["seeds"]) == ["42", "43"]
    assert list(mean["allocation_percent"]) == ["80", "90", "100", "110", "120", "130"]
    assert {"first_failure_percent", "rejected_percent"} < mean.keys()
    assert (len(told["trace"]["pods"]["sha256"]), "policies" in told["bound"]) == (64, False)
    assert "policy,seed,figure,value" in out["csv"].read_text()
    assert ElementTree.fromstring(out["svg"].read_text()).tag.endswith("svg")  # noqa: S314 (our own file)
    assert "lp-bound" in result.output


def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path) -> None:
    """Bit for bit."""
    for count in ("1", "2"):
        result = _replay(
            folder, "--policy", "fgd", "--seeds", "1,2", "--processes", count, "--json", str(tmp_path / count)
        )
        assert result.exit_code == 0, result.output
    one, two = (json.loads((tmp_path / count).read_text())["policies"] for count in ("1", "2"))
    assert one == two


def test_departures_and_timestamps_have_no_marks(folder: Path) -> None:
    """They report rejected demand."""
    for words in (["--departures", "0.8"], ["--timestamps"]):
        result = _replay(folder, "--policy", "best-fit", *words)
        assert (result.exit_code, "rejected %" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "best"], "policy 'best': expected one of"),
        (["--policy", "best-fit@online"], "expected a name, or a learned policy"),
        (["--seeds", "1,x"], "expected whole numbers"),
        (["--seeds", "1,1"], "expected each seed once"),
        (["--inflate", "-1"], "expected a number of capacities"),
        (["--timestamps", "--departures", "1"], "exclude each other"),
        (["--timestamps", "--bound"], "--bound is for arrivals"),
    ],
)
def test_a_question_without_meaning_is_refused(folder: Path, words: list[str], message: str) -> None:
    """Exit code 2 and a sentence."""
    result = _replay(folder, *words)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_a_file_that_is_no_trace_is_refused(folder: Path) -> None:
    """The message names the file."""
    files = ["--nodes", str(folder / "pods.csv"), "--pods", str(folder / "pods.csv")]
    result = CliRunner().invoke(main, ["replay", *files])
    assert (result.exit_code, "pods.csv: no column sn" in result.output) == (1, True)
