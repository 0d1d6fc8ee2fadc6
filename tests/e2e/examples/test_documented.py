"""docs/examples.md, the files of manifests/examples and the tests name the same examples."""

import ast
import re
from pathlib import Path

import pytest

from tests.e2e.examples.documented import PAGE, REPOSITORY, Block, as_name, sections

EXAMPLES = REPOSITORY / "manifests" / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def _tests() -> set[str]:
    """Names of the tests in this folder that run commands, without `test_`."""
    functions = (
        node
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any(argument.arg == "walk" for argument in node.args.args)
    )
    return {function.name.removeprefix("test_") for function in functions}


def test_every_section_has_a_test_that_runs_it() -> None:
    """And no test runs commands of a section that is gone."""
    assert _tests() == set(sections(PAGE.read_text(encoding="utf-8")))


def test_every_file_is_applied_by_a_command_of_the_page() -> None:
    """An example that no command applies is not tested."""
    page = PAGE.read_text(encoding="utf-8")
    applied = set(re.findall(r"kubectl .*apply -f manifests/examples/(\S+)", page))
    assert applied == {path.name for path in FILES}


def test_the_table_links_to_sections() -> None:
    """Each link's anchor is a heading, as GitHub forms it."""
    page = PAGE.read_text(encoding="utf-8")
    anchors = {anchor.replace("-", "_") for anchor in re.findall(r"\]\(#([-a-z0-9]+)\)", page)}
    assert anchors == set(sections(page))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_says_whom_it_is_for(path: Path) -> None:
    """In its first words."""
    assert path.read_text(encoding="utf-8").startswith("# For ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_whoever_asks_for_gpus_names_the_scheduler(path: Path) -> None:
    """Else the control plane's own scheduler would place the pod past gpupack; Volcano's jobs are the exception."""
    text = path.read_text(encoding="utf-8")
    documents = [
        document for document in text.split("\n---\n") if re.search(r"^\s+gpupack.io/gpu(-mem)?: \d", document, re.M)
    ]
    assert all("schedulerName: gpupack-scheduler" in document or "volcano" in document for document in documents)


def test_blocks_are_read_by_section() -> None:
    """The heading becomes a name; order and language are kept."""
    page = "# Page\n\n## Two words: here\n\n```sh\nkubectl get pods\n```\n\ntext\n\n```python\nprint()\n```\n"
    blocks = (Block("sh", "kubectl get pods\n"), Block("python", "print()\n"))
    assert sections(page) == {"two_words_here": blocks}
    assert as_name("Two words: here") == "two_words_here"


def test_a_block_that_no_test_can_run_is_refused() -> None:
    """It would rot."""
    with pytest.raises(ValueError, match="expected one of"):
        sections("## Here\n\n```yaml\na: 1\n```\n")
