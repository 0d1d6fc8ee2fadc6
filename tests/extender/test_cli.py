"""The command line: options and environment in, clear errors and exit codes out."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from extender.cli import main


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy; root logger and signal mask as they were: the command line takes both over."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Whose access is checked."""
    with ApiServer() as running:
        yield running


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> str:
    """That leads there."""
    return str(server.write_kubeconfig(tmp_path / "kubeconfig"))


def run(*arguments: str, **environment: str) -> Result:
    """One call."""
    return CliRunner(env=environment).invoke(main, list(arguments))


def test_check_says_what_works(kubeconfig: str) -> None:
    """Both lists can be read."""
    result = run("--check", "--kubeconfig", kubeconfig)
    assert (result.exit_code, result.stdout) == (
        0,
        "/api/v1/nodes: can be listed\n/api/v1/pods: can be listed\nsettings and access are good\n",
    )


def test_check_names_the_right_that_is_missing(server: ApiServer, kubeconfig: str) -> None:
    """403 for pods."""
    server.inject(Fault(method="GET", path="/api/v1/pods", status=403))
    result = run("--check", "--kubeconfig", kubeconfig)
    assert result.exit_code == 1
    assert "Error: /api/v1/pods: 403" in result.stderr


def test_check_of_an_api_server_that_is_away_fails(tmp_path: Path) -> None:
    """The address is in the message."""
    with ApiServer() as gone:
        kubeconfig = str(gone.write_kubeconfig(tmp_path / "kubeconfig"))
        port = gone.url.rpartition(":")[2]
    result = run("--check", "--kubeconfig", kubeconfig)
    assert result.exit_code == 1
    assert "/api/v1/nodes" in result.stderr
    assert port in result.stderr


def test_options_may_come_from_the_environment(kubeconfig: str) -> None:
    """GPUPACK_<OPTION>; the command line wins."""
    environment = {"GPUPACK_KUBECONFIG": kubeconfig, "GPUPACK_POLICY": "spread", "GPUPACK_HOLD_S": "7"}
    environment["GPUPACK_ALLOWED_HOST"] = "a.example b.example"
    environment["GPUPACK_SCHEDULER_NAME"] = "first second"
    result = run("--check", "--hold-s", "9", **environment)
    assert result.exit_code == 0
    assert "'policy': 'spread'" in result.stderr
    assert "'hold_s': 9.0" in result.stderr
    assert "'allowed_hosts': ('a.example', 'b.example')" in result.stderr
    assert "'scheduler_names': ('first', 'second')" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--listen", "here"], ["listen is 'here', expected HOST:PORT"]),
        (["--observe-listen", "9999"], ["observe-listen is '9999', expected HOST:PORT"]),
        (["--listen", "0.0.0.0:39999"], ["listen is 0.0.0.0:39999", "expected a loopback address, or TLS"]),
        (["--policy", "best"], ["'--policy'", "'best'", "binpack"]),
        (["--memory-unit-mib", "1000"], ["'--memory-unit-mib'", "'1000'", "'256', '512', '1024'"]),
        (["--placement", "best"], ["'--placement'", "'best'", "'exact', 'scored'"]),
        (["--keep", "many"], ["'--keep'", "'many' is not a valid integer"]),
        (["--keep", "0"], ["keep is 0, expected at least 1"]),
        (["--hold-s", "nan"], ["hold_s is nan, expected at least 0.1"]),
        (["--scheduler-name", "a b"], ["scheduler-name is 'a b', expected a name without blanks"]),
        (["--stale-s", "0"], ["stale_s is 0.0, expected at least 1.0"]),
        (["--prefix", "Not A Domain"], ["prefix 'Not A Domain': expected a DNS subdomain"]),
        (["--gpu-resource", "gpu"], ["gpu_resource 'gpu': expected a name such as gpupack.io/gpu"]),
        (["--log-level", "loud"], ["'--log-level'", "'loud'", "'debug'"]),
        (["--tls-key", "key.pem"], ["--tls-certificate, --tls-key and --tls-client-authority: expected all three"]),
        (["--kubeconfig", "/nowhere/config"], ["kubeconfig /nowhere/config: no such file"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(arguments: list[str], parts: list[str]) -> None:
    """On standard error, without a traceback, and with an exit code that is not 0."""
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert [part in result.stderr for part in parts] == [True] * len(parts), result.stderr
    assert "Traceback" not in result.stderr


def test_lesson_20_tls_files_that_cannot_be_used_are_named(kubeconfig: str, tmp_path: Path) -> None:
    """Before anything listens."""
    missing = str(tmp_path / "missing.pem")
    tls = ["--tls-certificate", missing, "--tls-key", missing, "--tls-client-authority", missing]
    result = run("--kubeconfig", kubeconfig, "--listen", "0.0.0.0:0", *tls)
    assert result.exit_code == 1
    assert f"tls: certificate is {missing!r}, expected an existing file" in result.stderr


def test_help_says_units_and_defaults() -> None:
    """For every option with one."""
    text = " ".join(run("--help").stdout.split())
    for part in (
        "[default: 127.0.0.1:39999]",
        "Size of one memory unit in MiB",
        "[default: 1024]",
        "Seconds that filter keeps memory",
        "[default: 30.0]",
        "Seconds without the API server",
        "[default: 120.0]",
        "[default: price-fit-robust]",
        "[default: gpupack.io]",
        "[default: (PREFIX/gpu)]",
        "[default: (learned from the calls)]",
        "GPUPACK_<OPTION>",
    ):
        assert part in text, part
    assert '[default: ""]' not in text + run("migrate", "--help").stdout
