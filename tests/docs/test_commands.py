"""Every command of the documentation is run: without a cluster here, with one by the end-to-end tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.exceptions import ELSEWHERE, NOT_RUN
from tests.docs.pages import REPOSITORY, Command, Fence, commands, commands_in, pages
from tests.docs.walked import PAGES as WALKED
from tests.extender.kubectl.migrating.manifests import GPUSHARE

COMMANDS = [command for page in pages() for command in commands(page)]
OFFLINE = [
    command
    for command in COMMANDS
    if command.offline and command.page not in (*ELSEWHERE, *WALKED) and command.text not in NOT_RUN
]
TIMEOUT_S = 100


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the commands may read, so that nothing is written into the repository."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("extender", "device_plugin", "bench", "manifests", "docs"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "FOLDER").mkdir()
    (root / "FOLDER" / "set.yaml").write_text(GPUSHARE, encoding="utf-8")
    return root


@pytest.mark.parametrize("command", OFFLINE, ids=lambda command: command.where)
def test_a_command_without_a_cluster_works(command: Command, checkout: Path) -> None:
    """With the page's placeholders: FOLDER is a folder with a manifest."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.text],
        cwd=checkout,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{command.where}: {command.text}\n{done.stdout}{done.stderr}"


def test_every_command_is_run_somewhere() -> None:
    """Here, in the walk of a new user, by the page's own module, or listed with a reason."""
    left = [
        f"{command.where}: {command.text}"
        for command in COMMANDS
        if not command.offline and command.page not in (*ELSEWHERE, *WALKED) and command.text not in NOT_RUN
    ]
    assert left == []


def test_the_list_of_exceptions_has_no_more_than_it_needs() -> None:
    """Each is still in the documentation, on no page that another module runs, and has a reason."""
    texts = {command.text for command in COMMANDS if command.page not in ELSEWHERE}
    assert [text for text in NOT_RUN if text not in texts] == []
    assert [text for text, reason in NOT_RUN.items() if len(reason) < 20] == []


@pytest.mark.parametrize(("page", "module"), ELSEWHERE.items())
def test_a_page_that_is_run_elsewhere_is_known_there(page: str, module: str) -> None:
    """The module, or one next to it, names the page."""
    folder = (REPOSITORY / module).parent
    assert (REPOSITORY / module).exists()
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    assert any(page in text or Path(page).name in text for text in texts)


def test_walked_pages_exist_and_have_commands() -> None:
    """The list has no stale pages."""
    assert [page for page in WALKED if not commands(REPOSITORY / page)] == []


def test_commands_are_found_in_a_block() -> None:
    """Without comments, with continued lines joined; a number sign within a word starts no comment."""
    fence = Fence("p", 10, "sh", "# why\nmake demo    # a minute\n\nkubectl get pods \\\n  -l a=b#c\n")
    assert list(commands_in(fence)) == [Command("p", 12, "make demo"), Command("p", 14, "kubectl get pods -l a=b#c")]
    assert [command.offline for command in commands_in(fence)] == [False, False]
    assert Command("p", 1, "python -m extender migrate FOLDER").offline


def test_the_migrated_example_is_what_the_command_makes(tmp_path: Path) -> None:
    """Both pods of docs/migrating.md, and the report below them."""
    text = (REPOSITORY / "docs" / "migrating.md").read_text(encoding="utf-8")
    parts = text.partition("## An example")[2].split("```")
    before, after, report = parts[1], parts[3], parts[5]
    file = tmp_path / "pod.yaml"
    file.write_text(before.removeprefix("yaml\n"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "extender", "migrate", "--scheduler-name", "gpupack-scheduler", str(file)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert file.read_text(encoding="utf-8") == after.removeprefix("yaml\n")
    assert done.stderr.replace(f"{file}: ", "").splitlines()[:-1] == report.strip().splitlines()
    assert yaml.safe_load(after.removeprefix("yaml\n"))["kind"] == "Pod"
