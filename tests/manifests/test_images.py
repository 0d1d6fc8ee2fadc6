"""The images are built from locked and pinned parts, and their Dockerfile's commands work on this machine."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
IMAGES = REPOSITORY / "manifests" / "images"
DOCKERFILE = (IMAGES / "Dockerfile").read_text(encoding="utf-8")
LOCKS = sorted(IMAGES.glob("*.lock"))
TARGETS = ("extender", "device-plugin")
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+) ", re.MULTILINE)
ADVICE = "run `make locks`"


def locked(path: Path) -> dict[str, str]:
    """Version by name."""
    return dict(ENTRY.findall(path.read_text(encoding="utf-8")))


def constrained() -> dict[str, str]:
    """Version by name, of constraints.txt."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def needed(requirements: Sequence[str]) -> set[str]:
    """The names of all packages that the requirements lead to, as they are installed here."""
    found: set[str] = set()
    open_ends = [Requirement(text) for text in requirements]
    while open_ends:
        requirement = open_ends.pop()
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras}
        if name in found and not requirement.extras:
            continue
        found.add(name)
        for text in distribution(name).requires or []:
            next_one = Requirement(text)
            if next_one.marker is None or any(next_one.marker.evaluate({"extra": extra}) for extra in extras):
                open_ends.append(next_one)
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_has_the_versions_that_the_tests_ran_with(path: Path) -> None:
    """Those of constraints.txt."""
    pinned = constrained()
    assert {name: pinned.get(name) for name in locked(path)} == locked(path), ADVICE


@pytest.mark.parametrize("target", TARGETS)
def test_a_lock_has_what_its_program_needs_and_nothing_else(target: str) -> None:
    """The packages of the extra of pyproject.toml and all that they need."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = needed([*project["dependencies"], *project["optional-dependencies"][target]])
    assert set(locked(IMAGES / f"{target}.lock")) == wanted, ADVICE


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_package_of_a_lock_has_hashes_and_no_address(path: Path) -> None:
    """The package may come from anywhere: what is installed is the same."""
    text = path.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(locked(path))
    assert [entry for entry in entries if "--hash=sha256:" not in entry or "://" in entry] == []


def test_base_images_are_pinned_to_a_patch_release() -> None:
    """All to the same version."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 5
    (base,) = set(bases)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)


def test_images_run_as_nobody() -> None:
    """Where root is needed, the pod says so."""
    stages = DOCKERFILE.split("\nFROM ")
    finals = [stage for stage in stages if "ENTRYPOINT" in stage]
    assert [re.findall(r"^USER (.*)$", stage, re.MULTILINE) for stage in finals] == [["65532:65532"]] * len(TARGETS)


def test_the_dockerfile_pleases_a_linter() -> None:
    """The images themselves cannot be built where there is no registry."""
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, IMAGES / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_build_sees_what_it_copies() -> None:
    """Whatever COPY takes from the context is let through by Dockerfile.dockerignore, and exists."""
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    }
    ignore = (IMAGES / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert {re.sub(r"[^/]+\.lock$", "*.lock", source) for source in copied} == let_through
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []


def stage_commands(target: str, root: Path) -> list[str]:
    """The shell commands of the stages that lead to a target, with their folders below `root`."""
    commands = []
    for stage in DOCKERFILE.split("\nFROM ")[1:]:
        name = re.match(r"\S+ AS (\S+)", stage)
        if name is None or name[1] not in ("wheel", f"{target}-environment"):
            continue
        for line in re.sub(r"\\\n\s*", "", stage).splitlines():
            instruction, _, rest = line.partition(" ")
            if instruction == "RUN":
                commands.append(re.sub(r"(?<![\w.])(/build|/opt/gpupack|/wheels)", rf"{root}\1", rest))
            elif instruction == "COPY" and not rest.startswith("--from"):
                *sources, _target = rest.split()
                commands.append(f"cp -r {' '.join(str(REPOSITORY / source) for source in sources)} .")
    return commands


@pytest.mark.e2e
@pytest.mark.timeout(400)
@pytest.mark.parametrize("target", TARGETS)
def test_the_dockerfiles_commands_make_a_program_that_runs(target: str, tmp_path: Path) -> None:
    """Its own commands with this machine's Python: what is locked installs by its hashes, fits together and starts."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "src").mkdir()
    environment = {**os.environ, "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"}
    for command in stage_commands(target, tmp_path):
        done = subprocess.run(
            ["bash", "-euc", command.replace("python -m", "python3 -m").replace(" --no-cache-dir", "")],
            cwd=tmp_path / "src",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    entry = re.search(rf'AS {target}\n.*?ENTRYPOINT \["(\S+)"\]', DOCKERFILE, re.DOTALL)
    assert entry is not None
    shown = subprocess.run(
        [f"{tmp_path}{entry[1]}", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.startswith(f"Usage: gpupack-{target} ")
