"""The command line: help with units and defaults, settings from the environment, exit codes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.simulated.apiserver.server import ApiServer
from device_plugin.cli import main


def test_help_names_units_and_defaults() -> None:
    """Without importing gRPC or the Kubernetes client."""
    text = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    for words in (
        "unit of gpu-mem in MiB. [default: 1024]",
        "Seconds between two samples of the GPUs' health. [default: 1.0]",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--node-name'"),
        (["--node-name", "n1", "--memory-unit-mib", "100"], "'100' is not one of '256', '512', '1024'"),
        (["--node-name", "n1", "--gpu-memory-mib", "*GB10*"], "--gpu-memory-mib '*GB10*': expected N, or PATTERN=N"),
        (["--node-name", "n1", "--listen", "nowhere"], "listen 'nowhere': expected HOST:PORT"),
        (["--node-name", "n1", "--gpus", "/nonexistent.yaml"], "gpus '/nonexistent.yaml'"),
    ],
)
def test_what_cannot_work_ends_with_2(arguments: list[str], words: str) -> None:
    """And says why."""
    result = CliRunner().invoke(main, arguments, env={"NODE_NAME": None, "GPUPACK_NODE_NAME": None})
    assert (result.exit_code, words in " ".join(result.output.split())) == (2, True), result.output


def test_sigterm_ends_it_with_0_and_settings_come_from_the_environment(folder: Path) -> None:
    """As a DaemonSet runs it: no option at all."""
    (folder / "gpus.yaml").write_text("gpus: [{model: Tesla T4, memory_mib: 15360}]")
    with ApiServer() as server:
        environment = {
            "GPUPACK_NODE_NAME": "n1",
            "GPUPACK_KUBECONFIG": str(server.write_kubeconfig(folder / "kubeconfig")),
            "GPUPACK_KUBELET_DIR": str(folder),
            "GPUPACK_PODRESOURCES_SOCKET": str(folder / "pr.sock"),
            "GPUPACK_GPUS": str(folder / "gpus.yaml"),
            "GPUPACK_LISTEN": "127.0.0.1:0",
            "GPUPACK_MEMORY_UNIT_MIB": "512",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "device_plugin"], env=os.environ | environment, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "no kubelet at" in line:
                    break
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=30)[1]
    assert (process.returncode, "Traceback" in rest) == (0, False), rest
    settings = [line for line in lines if "settings: " in line]
    assert (len(settings), "'memory_unit_mib': 512" in settings[0], "'node_name': 'n1'" in settings[0]) == (
        1,
        True,
        True,
    )
    assert not list(folder.glob("*.sock"))
