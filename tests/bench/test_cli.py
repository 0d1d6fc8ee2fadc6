"""The benchmarks' command line loads what is asked for, and only that."""

from click.testing import CliRunner

from bench.cli import COMMANDS, main
from extender.kubectl.cli import LazyGroup


def test_an_unknown_subcommand_is_a_usage_error_that_names_it() -> None:
    """Exit code 2, as click has it."""
    result = CliRunner().invoke(main, ["fly"])
    assert (result.exit_code, "'fly'" in result.output) == (2, True)


def test_a_subcommand_is_found_by_its_target() -> None:
    """`module:attribute` names the command, here the group itself."""
    group = LazyGroup("bench", lazy={"all": "bench.cli:main"})
    assert CliRunner().invoke(group, ["all", "--help"]).exit_code == 0


def test_a_subcommand_that_is_not_asked_for_is_not_imported() -> None:
    """A broken or heavy module hurts only those who use it."""
    group = LazyGroup("bench", lazy={"all": "bench.cli:main", "broken": "bench.no_such_module:main"})
    assert CliRunner().invoke(group, ["all", "--help"]).exit_code == 0


def test_every_subcommand_shows_its_help() -> None:
    """Each row of the table points to a command."""
    codes = {name: CliRunner().invoke(main, [name, "--help"]).exit_code for name in COMMANDS}
    assert codes == dict.fromkeys(COMMANDS, 0)
