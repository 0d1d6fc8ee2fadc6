"""A new user goes from a fresh clone through the README and the pages for admins, and finds what they promise."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from bench.simulated.client import ClusterClient
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.allocation import parse_allocation
from extender.contract.names import Names
from tests.docs.exceptions import NOT_RUN
from tests.docs.pages import Fence, commands_in, fences, pages
from tests.docs.walked import PAGES
from tests.e2e.controlplane import ControlPlane
from tests.e2e.newuser import NODE, CloneError, Machine, NewUser
from tests.extender.kubectl.migrating.manifests import GPUSHARE, HAMI, KAI

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NAMES = Names()
DEMO = "make demo"
SCHEDULER = "gpupack-scheduler"
PROMISED = r"(\d+) of its (\d+) pods run.*?and about (\d+) when they share, for about (\d+) %"
PRINTED = r"whole GPUs: +(\d+) of (\d+) pods ran.*?shared: +(\d+) of .*?saved per pod-hour: (\d+)"
ABOUT = 5
"""By so much may what the demo prints differ: it runs in real time."""


@pytest.fixture(scope="module")
def user(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewUser]:
    """In a fresh clone, in front of a cluster of one machine with the stock scheduler."""
    folder = tmp_path_factory.mktemp("new-user")
    with ExitStack() as stack:
        control_plane.start_scheduler()
        machine = stack.enter_context(Machine(control_plane, folder))
        someone = NewUser(machine, folder)
        try:
            someone.start()
        except CloneError as error:
            pytest.skip(str(error))
        yield someone


def blocks(user: NewUser, page: str) -> list[Fence]:
    """The blocks of a page of the clone."""
    return fences(user.clone / page, user.clone)


def as_pattern(text: str) -> str:
    """What a page shows as a pattern: blanks as they come, an ellipsis for anything, and an Event has an age."""
    words = re.sub(r"(FailedScheduling|GpupackPlaced)", r"\1 …", text.replace("GPU-5c0f", "GPU-")).split()
    return r"\s+".join(re.escape(word).replace("…", ".*") for word in words)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works_as_it_is_written(user: NewUser, page: str) -> None:
    """One after the other, page after page; blocks of YAML with a name are saved under it."""
    for fence in blocks(user, page):
        if fence.language == "yaml" and "\n  name: " in fence.text:
            user.write(f"{yaml.safe_load(fence.text)['metadata']['name']}.yaml", fence.text)
        if fence.language == "sh":
            for command in commands_in(fence):
                if command.text not in (*NOT_RUN, DEMO):
                    user.run(command.text)


def test_the_api_server_takes_every_pod_of_the_pages(user: NewUser) -> None:
    """With gpupack's admission policies; nothing is made."""
    found = [fence for page in pages(user.clone) for fence in fences(page, user.clone) if "\nkind: " in fence.text]
    assert len(found) >= 4
    for fence in found:
        user.write("block.yaml", fence.text)
        user.run("kubectl apply --server-side --dry-run=server --warnings-as-errors -f block.yaml")


def test_describe_shows_the_gpu_as_the_readme_says(user: NewUser) -> None:
    """The pod of the README gets what its annotations say."""
    pod, shown, _waits = [fence for fence in blocks(user, "README.md") if fence.language != "sh"][:3]
    user.write("llm.yaml", pod.text)
    user.run("kubectl apply -f llm.yaml")
    wanted = [as_pattern(line.removeprefix("Annotations:")) for line in shown.text.strip().splitlines()]
    wait_shown(user, "kubectl describe pod llm", wanted)


def wait_shown(user: NewUser, command: str, wanted: Sequence[str]) -> None:
    """Wait until the command prints what fits all the patterns: node and extender write by and by.

    Raises:
        TimeoutError: it does not; the message has what it printed last.
    """
    printed = ""

    def shown() -> bool:
        nonlocal printed
        printed = user.run(command)
        return all(re.search(pattern, printed) for pattern in wanted)

    try:
        wait_until(shown, what=f"{command} to show {wanted}", timeout_s=120)
    except TimeoutError as error:
        raise TimeoutError(f"{error}; it shows:\n{printed}") from None


def test_migrated_manifests_run(user: NewUser, control_plane: ControlPlane) -> None:
    """What asked gpushare, HAMi and KAI is taken by the API server and placed, each pod on the GPUs that it wants."""
    (user.clone / "FOLDER").mkdir()
    for name, text in (("gpushare", GPUSHARE), ("hami", HAMI), ("kai", KAI)):
        user.write(f"FOLDER/{name}.yaml", text)
    user.run("kubectl create namespace team")
    user.run("python -m extender migrate --scheduler-name gpupack-scheduler FOLDER")
    user.run("kubectl apply --warnings-as-errors -f FOLDER")
    expected = {"team/binpack-0": [3], "default/trainer": [3, 3], "default/notebook": [2]}
    found = {}
    for pod in expected:
        namespace, _, name = pod.partition("/")
        wait_until(lambda: control_plane.api.exists(f"/api/v1/namespaces/{namespace}/pods/{name}"), what=pod)  # noqa: B023 (asked at once)
        control_plane.api.wait_scheduled(namespace, name)
        written = control_plane.api.pod(namespace, name)["metadata"]["annotations"][NAMES.allocation_annotation]
        found[pod] = list(parse_allocation(written).containers["main"].values())
    assert found == expected
    user.run("kubectl delete --wait=false -f FOLDER")


def test_describe_says_why_a_pod_waits_as_the_readme_says(user: NewUser, control_plane: ControlPlane) -> None:
    """Three nodes have the memory in pieces, seven have too little."""
    _pod, _shown, waits = [fence for fence in blocks(user, "README.md") if fence.language != "sh"][:3]
    client = ClusterClient.from_kubeconfig(control_plane.admin_kubeconfig)
    two, small = (GpuSpec("NVIDIA A10", 12288, 2),), (GpuSpec("NVIDIA A10", 4096, 1),)
    # Whoever places a pod on the last of them knows all of this: nodes come and go for everyone in this order.
    client.delete_node(NODE)
    for place in reversed(range(10)):
        client.create_node(MachineSpec(f"n{place}", two if place < 3 else small).hollow_node_object(NAMES))
    for place in range(3):
        for name in ("a", "b"):
            only = {"kubernetes.io/hostname": f"n{place}"}
            client.create_pod(
                gpu_pod(f"{name}{place}", {NAMES.memory_resource: 7}, nodeSelector=only, schedulerName=SCHEDULER)
            )
            client.wait_for_pod(f"{name}{place}", lambda pod: bool(pod["spec"].get("nodeName")), "to be bound")
    client.create_pod(gpu_pod("waits", {NAMES.memory_resource: 8}, schedulerName=SCHEDULER))
    wait_shown(user, "kubectl describe pod waits", [as_pattern(waits.text)])


def test_the_demo_reaches_the_readmes_numbers(user: NewUser) -> None:
    """The figures of the first screen come out of its first command."""
    text = (user.clone / "README.md").read_text(encoding="utf-8")
    ((exclusive, pods, shared, saved),) = re.findall(PROMISED, text)
    output = user.run(DEMO)
    printed = re.search(PRINTED, output, re.DOTALL)
    assert printed, output
    assert printed.groups()[:2] == (exclusive, pods)
    assert abs(int(printed[3]) - int(shared)) <= ABOUT
    assert abs(int(printed[4]) - int(saved)) <= ABOUT


def test_the_walk_is_of_a_clone(user: NewUser) -> None:
    """Not of the folder that these tests are in."""
    assert Path(user.run("git rev-parse --show-toplevel").strip()).samefile(user.clone)
