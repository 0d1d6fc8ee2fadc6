"""`python -m bench live`: the real HTTP service, a process of its own, decides as the replay does."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main


@pytest.mark.timeout(400)
def test_the_live_extender_puts_pods_where_the_replay_puts_them(tmp_path: Path) -> None:
    """A synthetic trace, learning on the way."""
    words = ["--nodes", "20", "--pods", "150", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, ["trace", *words]).exit_code == 0
    files = ["--nodes", str(tmp_path / "nodes.csv"), "--pods", str(tmp_path / "pods.csv")]
    result = CliRunner().invoke(main, ["live", *files, "--count", "130"])
    assert result.exit_code == 0, result.output
    asked = result.output.split(" of them ask")[0].split()[-1]
    assert f"{asked} of {asked} decided as in the replay" in result.output


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    """Before anything is started."""
    (tmp_path / "x.csv").write_text("a,b\n")
    words = ["--nodes", str(tmp_path / "x.csv"), "--pods", str(tmp_path / "x.csv")]
    result = CliRunner().invoke(main, ["live", *words])
    assert (result.exit_code, "x.csv: no column" in result.output) == (1, True)
