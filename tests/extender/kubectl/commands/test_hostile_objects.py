"""One object that cannot be read hides no other, whatever a tenant has written into it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extender.kubectl.cli import main
from tests.extender.kubectl.views import on
from tests.extender.objects import Json, node, raw, uuid
from tests.fakes.api_server import ApiServer, Exchange, Step, kubeconfig_for

NESTED = b'"managedFields": ' + b"[" * 1500 + b"]" * 1500
NOT_TEXT = b'{"metadata": {"name": "bytes", "namespace": "default", "uid": "u", "labels": {"a": "\xff"}}}'
CUT = b'{"metadata": {"name": "odd", "namespace": "default", "uid": 5}}'


def deep(body: Json) -> bytes:
    """The object with fields that nest 1,500 deep: 3 kB that any tenant may write."""
    return raw(body).replace(b'"name"', NESTED + b', "name"', 1)


def items(*objects: Json | bytes) -> Step:
    """A list of these objects, as they are."""
    texts = [each if isinstance(each, bytes) else raw(each) for each in objects]
    body = b'{"kind": "List", "metadata": {"resourceVersion": "9"}, "items": [%b]}' % b", ".join(texts)
    return lambda exchange: Exchange.answer(exchange, 200, body)


def kubectl(folder: Path, server: ApiServer, *arguments: str) -> Result:
    """One command on this server."""
    return CliRunner().invoke(main, [*arguments, "--kubeconfig", kubeconfig_for(server, folder)])


def test_a_pod_that_nests_deep_is_shown_with_all_others(tmp_path: Path) -> None:
    """What nobody reads does not matter, however deep it is."""
    pods = [on("there", 4, uuid("n1", 0), "n1"), on("deep", 2, uuid("n1", 0), "n1")]
    with ApiServer() as server:
        server.on_list(items(pods[0], deep(pods[1])), items(node("n1", 16)))
        result = kubectl(tmp_path, server, "top", "--no-used")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "default/there 4Gi, default/deep 2Gi" in result.stdout


@pytest.mark.parametrize(("hostile", "name"), [(NOT_TEXT, "default/bytes"), (CUT, "default/odd")])
def test_top_shows_all_others_and_says_that_one_was_left_out(tmp_path: Path, hostile: bytes, name: str) -> None:
    """A byte that is not UTF-8, and a number where a text belongs."""
    with ApiServer() as server:
        server.on_list(items(on("there", 4, uuid("n1", 0), "n1"), hostile), items(node("n1", 16)))
        result = kubectl(tmp_path, server, "top", "--no-used")
    assert result.exit_code == 0, result.output
    assert "default/there 4Gi" in result.stdout
    assert result.stderr == f"1 unreadable object left out: {name}\n"


def test_a_gpu_can_be_cordoned_although_another_node_cannot_be_read(tmp_path: Path) -> None:
    """It is not needed."""
    with ApiServer() as server:
        server.on_list(items(NOT_TEXT, node("n1", 16)))
        server.on_other(lambda exchange: exchange.answer(200, node("n1", 16)))
        result = kubectl(tmp_path, server, "cordon", "n1/0", "--dry-run")
    assert (result.exit_code, "cordoned" in result.stdout) == (0, True), result.output
    assert result.stderr == "1 unreadable object left out: default/bytes\n"
