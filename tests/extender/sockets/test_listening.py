"""A program that listens on every address is reached by IPv4 and by IPv6, and by IPv4 alone where there is no IPv6."""

import socket

import pytest

from extender.sockets.listening import listening_socket
from tests.fakes.reaching import expected_of_every_address, has_ipv6, reached

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def reached_at(host: str) -> list[str]:
    """The loopback addresses at which a socket on `host` is reached."""
    with listening_socket(host, 0, 8) as server:
        return reached(server.getsockname()[1])


def test_every_address_is_ipv4_and_ipv6() -> None:
    """The kubelet's probes come by whichever of the two the pod has first."""
    assert reached_at("::") == expected_of_every_address()


def test_without_ipv6_it_is_every_ipv4_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the kernel's `ipv6.disable=1`, where no IPv6 socket can be made; the log says so."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    caplog.set_level("INFO")
    assert reached_at("::") == ["127.0.0.1"]
    assert caplog.messages == ["no IPv6 here: listening on every IPv4 address instead of [::]"]


@needs_ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_address_is_only_that_one(host: str) -> None:
    """No other one may reach kube-scheduler's port."""
    assert reached_at(host) == [host]


def test_every_ipv4_address_stays_that() -> None:
    """For those who ask for it."""
    assert reached_at("0.0.0.0") == ["127.0.0.1"]


def test_an_address_of_another_machine_is_an_error() -> None:
    """192.0.2.77 is for documentation only (RFC 5737)."""
    with pytest.raises(OSError, match="assign requested address"):
        listening_socket("192.0.2.77", 0, 8)
