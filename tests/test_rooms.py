"""The tree stays tidy: every module in a room, rooms and modules of a readable size, one name for one thing."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PROGRAMS = ("extender", "device_plugin", "bench")
MOST_MODULES = 12
MOST_LINES = 400

LARGE_ROOMS = {"extender/scheduling/policies": "a policy is a file"}
"""Rooms with more modules, and why."""

OUTSIDE_ROOMS = {
    "extender": {"cli.py"},
    "bench": {"cli.py"},
    "device_plugin": {
        "cli.py",
        "loops.py",
        "metrics.py",
        "safety.py",
        "service.py",
        "serving.py",
        "settings.py",
    },
}
"""Modules that stand directly in a program's package: its entrance, and what holds its rooms together."""

SAME_NAME = {
    "Health": "each of the two programs has its own",
    "Settings": "each of the two programs has its own",
    "SettingsError": "each of the two programs has its own",
    "Taint": "the API's JSON, and the value that planning, which knows no JSON, matches",
    "Toleration": "the same",
}
"""Public classes that several modules define, and why."""

NOT_NAMES = {"utils", "util", "common", "helpers", "helper", "constants", "manager", "misc"}


def modules() -> Iterator[Path]:
    """Every module that people wrote, relative to the repository."""
    for program in PROGRAMS:
        for path in sorted((REPOSITORY / program).rglob("*.py")):
            if "_pb2" not in path.name and path.name not in {"__init__.py", "__main__.py"}:
                yield path.relative_to(REPOSITORY)


def packages() -> Iterator[Path]:
    """Every package's `__init__.py`, relative to the repository."""
    for program in PROGRAMS:
        for path in sorted((REPOSITORY / program).rglob("__init__.py")):
            yield path.relative_to(REPOSITORY)


def tree_of(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))


def test_a_room_has_at_most_a_dozen_modules() -> None:
    """A reader finds a module without a search."""
    rooms = Counter(path.parent.as_posix() for path in modules())
    crowded = {room: count for room, count in rooms.items() if count > MOST_MODULES and room not in LARGE_ROOMS}
    assert crowded == {}


def test_a_module_has_at_most_four_hundred_lines() -> None:
    """A longer one does more than one job."""
    lines = {path.as_posix(): len((REPOSITORY / path).read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_no_module_stands_outside_a_room() -> None:
    """A program's own package has its entrance and no more."""
    outside = defaultdict(set)
    for path in modules():
        if path.parent.as_posix() in PROGRAMS:
            outside[path.parent.as_posix()].add(path.name)
    assert dict(outside) == OUTSIDE_ROOMS


def test_every_room_says_what_it_is_for_and_holds_no_code() -> None:
    """A package's `__init__` is its job description."""
    with_code = {path.as_posix(): len(tree_of(path).body) for path in packages()}
    assert {path: count for path, count in with_code.items() if count != 1} == {}
    assert [path.as_posix() for path in packages() if not ast.get_docstring(tree_of(path))] == []


def test_a_public_class_has_its_name_for_itself() -> None:
    """Two of one name in different rooms are two words for one thing, or one word for two."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for path in modules():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                rooms[node.name].add(path.as_posix())
    assert {name: where for name, where in rooms.items() if len(where) > 1 and name not in SAME_NAME} == {}
    assert {name for name in SAME_NAME if len(rooms[name]) < 2} == set()


def test_a_module_says_in_plain_english_what_it_is_for() -> None:
    """Its first sentence tells what it does, not from what to what."""
    assert [path.as_posix() for path in modules() if not ast.get_docstring(tree_of(path))] == []
    first = {path.as_posix(): (ast.get_docstring(tree_of(path)) or "").split("\n")[0] for path in modules()}
    assert {path: line for path, line in first.items() if line.startswith("From ")} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    """What a module called utils is for nobody knows."""
    assert [path.as_posix() for path in modules() if path.stem in NOT_NAMES] == []


def test_tests_mirror_the_rooms() -> None:
    """A room's tests stand in the folder of the same name under tests/."""
    rooms = {path.parent for path in modules()}
    folders = {
        path.parent.relative_to(REPOSITORY / "tests")
        for program in PROGRAMS
        for path in (REPOSITORY / "tests" / program).rglob("test_*.py")
    }
    assert sorted(folder.as_posix() for folder in folders - rooms if folder.as_posix() not in PROGRAMS) == []
