"""Which Host headers people's requests may carry."""

import pytest

from extender.server.http.hosts import AllowedHosts

HOSTS = AllowedHosts(["gpupack.example.com"])
OWN = "10.1.2.3"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:39999",
        "localhost.:39999",
        "gpupack.localhost",
        "127.0.0.1:39999",
        "127.8.8.8",
        "[::1]:39999",
        "::1",
        "[::ffff:127.0.0.1]",
        "10.1.2.3:9401",
        "[::ffff:10.1.2.3]:9401",
        "GPUPACK.example.com:443",
    ],
)
def test_loopback_the_own_address_and_the_setting_are_allowed(host: str) -> None:
    """With and without a port, in any case, with the dot of a full name."""
    assert HOSTS.allows(host, OWN)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:39999",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "sub.gpupack.example.com",
        "10.1.2.4",
        "[::2]:80",
        "[evil.example]:80",
        "localhost:evil",
        "[::1].evil.example",
        "[::1",
        "::1]",
        "[::1%25evil]",
        "[::1]:80:80",
        "user@localhost",
    ],
)
def test_all_other_names_are_refused(host: str) -> None:
    """A name that only begins or ends like ours is another."""
    assert not HOSTS.allows(host, OWN)


def test_an_address_of_a_dual_stack_socket_is_the_ipv4_one() -> None:
    """Which reports it in IPv6's form."""
    assert HOSTS.allows("10.1.2.3", "::ffff:10.1.2.3")
