"""Where the API server's address, its authority and the credentials come from, and what is said when one is wrong."""

import json
import os
from pathlib import Path

import pytest

from extender.kube.client import KubeApi, connect
from extender.kube.credentials import CHECK_S, load_credentials
from extender.kube.errors import ApiUnreachable, KubeConfigError
from tests.extender.api_calls import PODS, bind
from tests.fakes.api_server import ApiServer, kubeconfig_for, listing
from tests.fakes.certificate import server_context, write_certificate
from tests.fakes.reaching import has_ipv6
from tests.fakes.reflecting import StandingClock


def test_the_service_account_is_found_and_its_rotated_token_is_read_again_and_kept_when_it_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address from the pod's environment, token and authority from the mounted files, over TLS."""
    certificate = write_certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text("first\n")
    clock = StandingClock()
    with ApiServer(server_context(certificate)) as server:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        server.on_list(*[listing(version, []) for version in range(1, 5)])
        api = KubeApi(load_credentials(None, None, tmp_path, "test", clock))
        api.list_page(PODS, 500, "", 5.0)
        token.write_text("second one")
        api.list_page(PODS, 500, "", 5.0)
        clock.advance(CHECK_S)
        api.list_page(PODS, 500, "", 5.0)
        token.unlink()
        clock.advance(CHECK_S)
        api.list_page(PODS, 500, "", 5.0)
        expected = ["Bearer first", "Bearer first", "Bearer second one", "Bearer second one"]
        assert expected == [request.headers["authorization"] for request in server.requests]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_api_server_of_an_ipv6_cluster_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Service has an IPv6 address, which a URL has in brackets and a certificate without."""
    certificate = write_certificate(tmp_path)
    (tmp_path / "token").write_text("token")
    with ApiServer(server_context(certificate), host="::1") as server:
        monkeypatch.setenv("NO_PROXY", "::1")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "::1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        server.on_list(listing(1, []))
        connect(None, service_account_dir=tmp_path).list_page(PODS, 500, "", 5.0)
        assert [request.headers["host"] for request in server.requests] == [f"[::1]:{server.port}"]


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the request, and so the token, is sent."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    other = tmp_path / "other"
    other.mkdir()
    with ApiServer(server_context(write_certificate(other))) as server:
        path = Path(kubeconfig_for(server, tmp_path, token="secret-token"))
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"]["certificate-authority"] = str(write_certificate(tmp_path))
        path.write_text(json.dumps(content))
        with pytest.raises(ApiUnreachable, match=r"(?i)certificate") as caught:
            bind(connect(str(path)))
        assert (caught.value.sent, server.requests) == (False, [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "kubeconfig .*empty"),
        ("{{{", "kubeconfig"),
        ("current-context: gone\ncontexts: []\nclusters: []\nusers: []\n", "kubeconfig .*gone"),
        ("just text", "kubeconfig"),
    ],
)
def test_a_bad_kubeconfig_is_named(tmp_path: Path, content: str, expected: str) -> None:
    """The message says which file, and what is wrong with it."""
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(content)
    with pytest.raises(KubeConfigError, match=expected):
        connect(str(path))


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    """No such file, not "no configuration"."""
    with pytest.raises(KubeConfigError, match=r"kubeconfig .*absent: no such file"):
        connect(str(tmp_path / "absent"))


def test_outside_a_cluster_there_is_no_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what was looked for."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeConfigError, match=r"service account in .*: Service host/port is not set"):
        connect(None, service_account_dir=tmp_path)


def test_files_are_merged_and_a_context_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent files are passed over."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ApiServer() as first, ApiServer() as second:
        folders = [tmp_path / "first", tmp_path / "second"]
        for folder, server in zip(folders, (first, second), strict=True):
            folder.mkdir()
            path = Path(kubeconfig_for(server, folder, token=folder.name))
            path.write_text(path.read_text().replace('"fake"', f'"{folder.name}"'))
            server.on_list(listing(1, []))
        files = os.pathsep.join(str(folder / "kubeconfig.yaml") for folder in (tmp_path / "absent", *folders))
        connect(files, context="first").list_page(PODS, 0, "", 5.0)
        connect(files, context="second", user_agent="test").list_page(PODS, 0, "", 5.0)
        assert [request.headers["authorization"] for request in first.requests] == ["Bearer first"]
        assert [request.headers["user-agent"] for request in second.requests] == ["test"]
        with pytest.raises(KubeConfigError, match="other"):
            connect(files, context="other")
