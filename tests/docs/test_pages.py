"""The documentation agrees with itself and with the sources: links, flags, metrics, reasons, pod specs."""

import re
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml

from bench.cli import main as bench
from device_plugin.cli import main as device_plugin
from extender.cli import main as extender
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB
from extender.decoding.decoder import Decoder
from extender.kubectl.cli import main as kubectl_gpupack
from extender.kubectl.migrating.manifests import Kind, migrate
from extender.kubectl.migrating.requests import MigrateOptions
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.policies.table import POLICIES
from extender.server.wire import decode_extender_args
from tests.docs.pages import REPOSITORY, Fence, anchors, fences, flags, links, pages

PAGES = pages()
FENCES = [fence for page in PAGES for fence in fences(page)]
PODS = [fence for fence in FENCES if fence.language == "yaml" and "\nkind: Pod\n" in fence.text]
LANGUAGES = {"", "sh", "yaml", "json", "python", "promql"}
SOURCES = ("extender", "device_plugin", "bench", "tests/bench")


def name_of(value: object) -> str:
    """Test names: the page, or the block's place."""
    return value.where if isinstance(value, Fence) else str(Path(str(value)).relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """To existing files and headings; external links are not followed."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), link
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name_of(page)} links to {link}"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)} links to {link}, which has {sorted(anchors(file))}"


def test_every_page_can_be_found() -> None:
    """Each page from the index, and the index from the README."""
    index = REPOSITORY / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert set(index.parent.glob("*.md")) - {index} <= listed
    assert "docs/README.md" in links(REPOSITORY / "README.md")


@pytest.mark.parametrize("fence", FENCES, ids=name_of)
def test_blocks_are_of_a_language_that_is_checked(fence: Fence) -> None:
    """The tests would miss `bash` or `shell`; YAML must be valid."""
    assert fence.language in LANGUAGES
    if fence.language == "yaml":
        assert list(yaml.safe_load_all(fence.text))


@pytest.mark.parametrize("fence", PODS, ids=name_of)
def test_pod_specs_are_valid(fence: Fence) -> None:
    """The extender reads a request from each, or it is a pod for another program that can be migrated."""
    for document in yaml.safe_load_all(fence.text):
        if "gpupack.io/" not in fence.text:
            result = migrate(fence.text, MigrateOptions())
            assert (result.pods, result.of(Kind.UNDECIDED)) == (1, ())
            continue
        metadata = {"namespace": "default", "uid": "u", "resourceVersion": "1", **document["metadata"]}
        record = _decoded({**document, "metadata": metadata})
        assert record.request_error == ""
        assert record.request is not None
        assert record.request.memory_units or record.request.whole_gpus


def _decoded(pod: dict[str, Any]) -> PodRecord:
    args = decode_extender_args(msgspec.json.encode({"Pod": pod, "NodeNames": ["n"]}))
    return Decoder(Names(), DEFAULT_UNIT_MIB).pod(args.pod)


def test_every_reason_is_explained_and_every_explanation_is_a_reason() -> None:
    """The table of docs/concepts.md and the sentences of kube-scheduler's events."""
    text = (REPOSITORY / "docs" / "concepts.md").read_text(encoding="utf-8")
    table = text.partition("## Where nothing fits")[2]
    rows = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")} - {"sentence"}
    assert rows == {reason.text for reason in Misfit}


def test_troubleshooting_says_what_to_do_about_every_reason() -> None:
    """Every reason is on the page."""
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert [reason.text for reason in Misfit if reason.text not in text] == []


def test_every_policy_is_described() -> None:
    """In the table of docs/policies.md."""
    text = (REPOSITORY / "docs" / "policies.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} >= set(POLICIES)


def test_alerts_link_to_what_to_do() -> None:
    """Each rule's runbook is a heading of docs/troubleshooting.md, and each of its alerts has a rule."""
    rules = (REPOSITORY / "manifests" / "dashboards" / "rules.yaml").read_text(encoding="utf-8")
    runbooks = set(re.findall(r"runbook_url: .*docs/troubleshooting\.md#(\S+)", rules))
    page = REPOSITORY / "docs" / "troubleshooting.md"
    alerts = page.read_text(encoding="utf-8").partition("## Alerts")[2]
    assert runbooks == {heading.lower() for heading in re.findall(r"^### (\w+)$", alerts, re.MULTILINE)}
    assert runbooks <= anchors(page)


def options_of(command: click.Command) -> set[str]:
    """The flags of a command and of its subcommands."""
    found = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= options_of(inner)
    return found


OF_OTHERS = {"--leader-elect", "--bump-revision", "--mark-compacted", "--root-dir", "--node-init-taints"}
"""Flags of kube-scheduler, of etcdutl, of the kubelet and of Azure's az aks."""


def test_flags_that_are_mentioned_exist() -> None:
    """In one of the programs, so that a renamed flag is noticed."""
    known = {"--help"}.union(*(options_of(each) for each in (extender, device_plugin, bench, kubectl_gpupack)))
    for page in PAGES:
        assert flags(page) - known - OF_OTHERS == set(), name_of(page)


def test_metrics_and_events_that_are_mentioned_exist() -> None:
    """By their names in the sources, where counters have no _total."""
    sources = "".join(
        path.read_text(encoding="utf-8") for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.py")
    )
    # The names of the node's metrics are composed in the source; another test compares them with this page.
    tabled = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in set(re.findall(r"\bgpupack_[a-z_]+[a-z]\b", text)):
            plain = name.removesuffix("_bucket")
            assert plain in tabled or plain.removesuffix("_total") in sources, f"{name_of(page)}: {name}"
        for name in set(re.findall(r"`((?:GPU(?!PACK_)|Gpupack)[A-Z]\w+)`", text)):
            assert name in sources, f"{name_of(page)}: {name}"
        for name in set(re.findall(r"`(GPUPACK_[A-Z_]+)`", text)):
            option = "--" + name.removeprefix("GPUPACK_").lower().replace("_", "-")
            assert name in sources or option in sources, f"{name_of(page)}: {name}"


def test_names_of_resources_and_annotations_that_are_mentioned_exist() -> None:
    """Users copy gpupack.io/... from the pages."""
    known = {value for name in dir(Names) if isinstance(value := getattr(Names(), name), str) and "/" in value}
    known |= {"gpupack.io/gpu"}
    manifests = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "manifests").rglob("*.yaml"))
    for page in PAGES:
        for name in set(re.findall(r"\bgpupack\.io/[a-z][a-z-]*[a-z]", page.read_text(encoding="utf-8"))):
            assert name in known or name in manifests, f"{name_of(page)}: {name}"
