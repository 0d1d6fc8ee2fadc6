"""The command: files and folders are rewritten in place, standard input is printed, and the exit status tells."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extender.cli import main
from extender.kubectl.cli import main as kubectl_gpupack
from tests.extender.kubectl.migrating.manifests import GPUSHARE, HAMI, KAI, UNTOUCHED, pod, stream

MIGRATED = GPUSHARE.replace("aliyun.com/gpu-mem", "gpupack.io/gpu-mem")
UNCLEAR = pod({"nvidia.com/gpu": 1})


def run(*arguments: str, text: str | None = None) -> Result:
    """One call of `python -m extender migrate`."""
    return CliRunner().invoke(main, ["migrate", *arguments], input=text)


def test_a_file_is_rewritten_in_place(tmp_path: Path) -> None:
    """With its mode; the report goes to standard error."""
    file = tmp_path / "set.yaml"
    file.write_text(GPUSHARE, encoding="utf-8")
    file.chmod(0o640)
    result = run(str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        f"{file}: StatefulSet team/binpack: container main: aliyun.com/gpu-mem: 3 (GiB) -> gpupack.io/gpu-mem: 3 "
        "(3 x 1024 MiB)\n1 file: 1 pod rewritten, 0 questions\n"
    )
    assert file.read_text(encoding="utf-8") == MIGRATED
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["set.yaml"]


def test_both_names_of_the_command_are_one() -> None:
    """`kubectl gpupack migrate` is it; `python -m extender migrate` stays for scripts."""
    results = [CliRunner().invoke(group, ["migrate", "-"], input=GPUSHARE) for group in (main, kubectl_gpupack)]
    assert [(one.exit_code, one.stdout) for one in results] == [(0, MIGRATED), (0, MIGRATED)]


def test_a_folder_is_searched(tmp_path: Path) -> None:
    """Manifests by their ending, everything else is left."""
    (tmp_path / "deep").mkdir()
    for name in ("a.yaml", "deep/b.yml", "c.json", "notes.txt"):
        (tmp_path / name).write_text(GPUSHARE, encoding="utf-8")
    result = run(str(tmp_path))
    assert result.exit_code == 0
    assert "3 files: 3 pods rewritten" in result.stderr
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == GPUSHARE
    assert (tmp_path / "deep" / "b.yml").read_text(encoding="utf-8") == MIGRATED


def test_standard_input_is_printed() -> None:
    """So that it works in a pipe, for instance behind `helm template`."""
    result = run("-", text=stream(GPUSHARE, UNTOUCHED))
    assert (result.exit_code, result.stdout) == (0, stream(MIGRATED, UNTOUCHED))


def test_check_writes_nothing_and_says_by_its_status_what_it_would_do(tmp_path: Path) -> None:
    """1 when something would change, 0 when not."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(HAMI, encoding="utf-8")
    new.write_text(MIGRATED, encoding="utf-8")
    assert run("--check", str(old)).exit_code == 1
    assert run("--check", str(new)).exit_code == 0
    assert old.read_text(encoding="utf-8") == HAMI


def test_diff_prints_what_would_change(tmp_path: Path) -> None:
    """In the unified form, and writes nothing."""
    file = tmp_path / "set.yaml"
    file.write_text(GPUSHARE, encoding="utf-8")
    result = run("--diff", str(file))
    assert result.exit_code == 0
    changes = [line for line in result.stdout.splitlines()[2:] if line[0] in "+-"]
    assert changes == [
        "-            aliyun.com/gpu-mem: 3   # a third of the card",
        "+            gpupack.io/gpu-mem: 3   # a third of the card",
    ]
    assert file.read_text(encoding="utf-8") == GPUSHARE


def test_questions_have_a_status_of_their_own(tmp_path: Path) -> None:
    """The rest is done."""
    file = tmp_path / "both.yaml"
    file.write_text(stream(UNCLEAR, GPUSHARE), encoding="utf-8")
    result = run(str(file))
    assert result.exit_code == 3
    assert "Pod one: undecided: container main: nvidia.com/gpu: 1 does not say" in result.stderr
    assert "1 file: 1 pod rewritten, 1 question\n" in result.stderr
    assert file.read_text(encoding="utf-8") == stream(UNCLEAR, MIGRATED)


def test_options_answer_the_questions() -> None:
    """One replica of 8 GiB, on the second scheduler."""
    result = run("--replica-memory-mib", "8192", "--scheduler-name", "gpupack-scheduler", "-", text=UNCLEAR)
    assert result.exit_code == 0
    assert "gpupack.io/gpu-mem: 8" in result.stdout
    assert "schedulerName: gpupack-scheduler" in result.stdout


@pytest.mark.parametrize("text", ["nvidia.com/gpu: [", "nvidia.com/gpu: \x00"])
def test_what_cannot_be_read_is_left_and_said(tmp_path: Path, text: str) -> None:
    """Other files are still done."""
    broken, good = tmp_path / "a.yaml", tmp_path / "b.yaml"
    broken.write_text(text, encoding="utf-8")
    good.write_text(KAI, encoding="utf-8")
    result = run(str(tmp_path), str(tmp_path / "missing.yaml"))
    assert result.exit_code == 3
    assert f"{broken}: not YAML" in result.stderr
    assert "missing.yaml: cannot be read" in result.stderr
    assert "3 files: 1 pod rewritten, 0 questions, 2 files not read" in result.stderr
    assert broken.read_text(encoding="utf-8") == text


def test_bytes_that_are_no_text_are_left_and_said(tmp_path: Path) -> None:
    """Not UTF-8."""
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    result = run(str(file))
    assert (result.exit_code, file.read_bytes()) == (3, b"\xff\xfe\x00")
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--unit-mib", "100", "-"), ("--gpu-memory-mib", "0", "-"), ("--keep", "a", "--drop", "a", "-")]
)
def test_wrong_use_has_the_usual_status(arguments: tuple[str, ...]) -> None:
    """2, with what was expected."""
    result = run(*arguments, text="")
    assert result.exit_code == 2
    assert "Error" in result.stderr
