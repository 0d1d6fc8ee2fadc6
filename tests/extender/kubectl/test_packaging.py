"""kubectl gpupack runs with what its extra installs, without the extender's and the device plugin's libraries."""

import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
ALL_COMMANDS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"flask", "werkzeug", "cheroot", "grpc", "google", "pynvml", "numpy"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from click.testing import CliRunner
from extender.kubectl.cli import main
from extender.kubectl.cli import COMMANDS

for name in COMMANDS:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, (name, result.output, result.exception)
"""


def test_every_command_is_there_without_what_others_need() -> None:
    """Installed on an admin's machine, not in an image."""
    done = subprocess.run(
        [sys.executable, "-c", ALL_COMMANDS], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_kubectl_finds_it_by_its_name() -> None:
    """A program in the PATH called kubectl-gpupack is `kubectl gpupack`."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["kubectl-gpupack"] == "extender.kubectl.cli:kubectl_gpupack"
    assert any(each.startswith("rich") for each in project["optional-dependencies"]["kubectl"])
