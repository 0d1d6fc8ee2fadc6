"""The tree of docs/development.md is that of the repository."""

from collections.abc import Iterator

from tests.docs.pages import REPOSITORY, fences

PROGRAMS = ("extender", "device_plugin", "bench")


def listed(tree: str) -> Iterator[str]:
    """The folders of an indented tree, two blanks a level, as paths."""
    above: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0].rstrip("/")
        above[(len(line) - len(line.lstrip())) // 2 :] = [name]
        yield "/".join(above)


def test_every_package_is_on_the_page_and_every_room_on_the_page_is_a_package() -> None:
    """A package that is added, removed or moved must be changed on the page."""
    tree = next(fence for fence in fences(REPOSITORY / "docs" / "development.md") if fence.language == "").text
    shown = {path for path in listed(tree) if path.split("/")[0] in PROGRAMS}
    modules = (path for program in PROGRAMS for path in (REPOSITORY / program).rglob("*.py"))
    assert shown == {str(module.parent.relative_to(REPOSITORY)) for module in modules}


def test_a_tree_is_read_by_its_indentation() -> None:
    """Including steps back by more than one level."""
    tree = "a/    x\n  b/  x\n    c/\n  d/\ne/\n"
    assert list(listed(tree)) == ["a", "a/b", "a/b/c", "a/d", "e"]
