"""A client reads the kubeconfig that a control plane writes."""

import base64
from pathlib import Path

import yaml

from bench.simulated.client import ApiAccess, read_kubeconfig, write_kubeconfig


def test_an_access_that_was_written_is_read_again(tmp_path: Path) -> None:
    """With a token, or with a client certificate."""
    files = [tmp_path / name for name in ("ca.crt", "client.crt", "client.key")]
    for file in files:
        file.write_text("PEM")
    ca, certificate, key = (str(file) for file in files)
    for access in (ApiAccess("https://one:6443", ca, token="t"), ApiAccess("https://two:6443", ca, certificate, key)):
        assert read_kubeconfig(write_kubeconfig(tmp_path / "kubeconfig", access)) == access


def test_an_embedded_certificate_becomes_a_file(tmp_path: Path) -> None:
    """As urllib3 wants it."""
    path = write_kubeconfig(tmp_path / "kubeconfig", ApiAccess("https://one:6443"))
    config = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"PEM").decode()
    path.write_text(yaml.safe_dump(config))
    assert Path(read_kubeconfig(path).ca_file).read_bytes() == b"PEM"
