"""The commands of docs/control-plane.md, and the extender they put beside kube-scheduler, on a real control plane."""

import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from bench.simulated.processes import ServerProcess, free_port
from bench.simulated.specs import GpuSpec, MachineSpec
from bench.simulated.waiting import wait_until
from extender.contract.names import Names
from tests.e2e.admissioncases import asking
from tests.e2e.confinement import confined
from tests.e2e.controlplane import ControlPlane
from tests.e2e.installation import REPOSITORY, SYSTEM, wait_ready
from tests.e2e.pagewalk import PageWalk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PAGE = "docs/control-plane.md"
NAMES = Names()


def test_the_page_puts_the_extender_beside_the_control_planes_scheduler(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """With the kubeconfig, the configuration and the static pod's options that the page leads to, a pod is bound."""
    spec = MachineSpec("node", (GpuSpec("NVIDIA A100-SXM4-80GB", 81920, 1),))
    control_plane.api.create("/api/v1/nodes", spec.hollow_node_object(NAMES))
    etc = tmp_path / "kubernetes"
    (etc / "manifests").mkdir(parents=True)
    owner = {} if os.getuid() == 0 else {"-o 65532 -g 65532 ": ""}
    walk = PageWalk(control_plane, tmp_path, {"NODE": "node", "/etc/kubernetes": str(etc), **owner})
    apply, access, install = walk.blocks(PAGE)
    walk.run(apply)
    secret = f"/api/v1/namespaces/{SYSTEM}/secrets/gpupack-scheduler-token"
    wait_until(lambda: "token" in control_plane.api.get(secret).get("data", {}), what="the token to be made")
    assert f"system:serviceaccount:{SYSTEM}:gpupack-scheduler" in walk.run(access)
    walk.run(install)
    kubeconfig = etc / "gpupack.conf"
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    if os.getuid() == 0:
        assert kubeconfig.stat().st_uid == 65532
        os.chown(kubeconfig, 0, 0)  # the process below is root's, without the power to read everything

    static_pod = yaml.safe_load((etc / "manifests" / "gpupack-extender.yaml").read_text(encoding="utf-8"))
    (container,) = static_pod["spec"]["containers"]
    configuration = yaml.safe_load((etc / "gpupack-scheduler.yaml").read_text(encoding="utf-8"))
    assert f"--listen={configuration['extenders'][0]['urlPrefix'].removeprefix('http://')}" in container["args"]
    address = f"127.0.0.1:{free_port()}"
    replaced = {"--kubeconfig": kubeconfig, "--listen": address}
    options = [f"{name}={replaced.get(name, value)}" for name, value in (each.split("=") for each in container["args"])]
    folders = {each["mountPath"]: tmp_path / each["name"] for each in container["volumeMounts"]}
    temporary = folders["/tmp"]
    temporary.mkdir()
    command = confined([sys.executable, "-m", "extender", *options], container, [temporary])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temporary)}
    extender = ServerProcess("extender", command, log=tmp_path / "extender.log", env=environment)
    configuration["extenders"][0]["urlPrefix"] = f"http://{address}"
    try:
        wait_ready(extender, address)
        control_plane.start_scheduler(configuration)
        control_plane.api.create_namespace("work")
        control_plane.api.create_pod("work", asking({NAMES.memory_resource: 8}))
        assert control_plane.api.wait_scheduled("work", "asks") == "node"
    finally:
        control_plane.stop_scheduler()
        extender.stop()
    assert NAMES.allocation_annotation in control_plane.api.pod("work", "asks")["metadata"]["annotations"]
    requests = control_plane.audited(SYSTEM, "gpupack-scheduler")
    assert [each for each in requests if not each.allowed] == []


def test_the_page_has_the_flag_that_kube_scheduler_needs() -> None:
    """The file that is installed is the one that is named."""
    page = Path(__file__).parents[2] / PAGE
    text = page.read_text(encoding="utf-8")
    installed = [shlex.split(line)[-1] for line in text.splitlines() if line.startswith("install ")]
    assert f"--config={installed[1]}" in text
