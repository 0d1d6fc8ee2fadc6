"""Settings: what is accepted, and that each bad value is named with what was expected."""

import math
from typing import Any

import pytest

from extender.contract.units import UnitMib
from extender.server.settings import DEFAULT_LISTEN, Address, Settings, SettingsError, Tls, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:39999", Address("127.0.0.1", 39999)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),
    ],
)
def test_addresses_are_host_and_port(text: str, expected: Address) -> None:
    """IPv6 in brackets."""
    assert expected == parse_address(text, setting="listen")


@pytest.mark.parametrize(
    "text",
    ["", "39999", ":39999", "127.0.0.1", "127.0.0.1:", "a:b", "a:65536", "a:-1", "a:٣", "a:²", "a:" + "9" * 5000],
)
def test_a_bad_address_is_named(text: str) -> None:
    """The setting, the value, the form."""
    with pytest.raises(SettingsError) as caught:
        parse_address(text, setting="listen")
    assert str(caught.value) == f"listen is {text!r}, expected HOST:PORT such as {DEFAULT_LISTEN}"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_loopback_is_what_no_other_machine_can_reach(host: str, *, expected: bool) -> None:
    """A name that is not localhost may lead anywhere."""
    assert expected == Address(host, 1).loopback


def test_the_defaults_are_those_of_the_documentation() -> None:
    """Loopback, the robust price-fit, 1 GiB, one node in an answer."""
    settings = Settings()
    assert (settings.listen, settings.policy, settings.unit_mib) == (
        Address("127.0.0.1", 39999),
        "price-fit-robust",
        1024,
    )
    assert (settings.answers, settings.observe, settings.tls) == (1, None, None)


def test_scored_placement_answers_with_more_nodes() -> None:
    """As many as `keep`."""
    assert Settings(placement="scored", keep=5).answers == 5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"placement": "best"}, "placement is 'best', expected one of exact, scored"),
        ({"keep": 0}, "keep is 0, expected at least 1"),
        ({"hold_s": 0.0}, "hold_s is 0.0, expected at least 0.1"),
        ({"hold_s": -1.0}, "hold_s is -1.0, expected at least 0.1"),
        ({"hold_s": math.nan}, "hold_s is nan, expected at least 0.1"),
        ({"hold_s": math.inf}, "hold_s is inf, expected at least 0.1"),
        ({"stale_s": 0.5}, "stale_s is 0.5, expected at least 1.0"),
        ({"stale_s": math.nan}, "stale_s is nan, expected at least 1.0"),
        ({"threads": 3}, "threads is 3, expected at least 4"),
        ({"max_body_bytes": 10}, "max_body_bytes is 10, expected at least 1024"),
        ({"unit_mib": UnitMib(1000)}, "memory unit of 1000 MiB: expected one of 256, 512, 1024"),
        ({"allowed_hosts": ("gpus.example.com:443",)}, "allowed-host is 'gpus.example.com:443', expected a host name"),
        ({"allowed_hosts": ("",)}, "allowed-host is '', expected a host name without port"),
        ({"scheduler_names": ("gpupack-scheduler", "")}, "scheduler-name is '', expected a name without blanks"),
        ({"policy": "best"}, "policy 'best': expected one of "),
    ],
)
def test_a_bad_setting_is_named(bad: dict[str, Any], message: str) -> None:
    """The setting, the value and what was expected."""
    with pytest.raises(ValueError, match=r".") as caught:
        Settings(**bad)
    assert message in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_lesson_20_nothing_but_loopback_without_tls(host: str) -> None:
    """Whoever reaches the port can bind pods."""
    with pytest.raises(SettingsError, match="could bind pods; expected a loopback address, or TLS with client cert"):
        Settings(listen=Address(host, 39999))
    tls = Tls("a.crt", "a.key", "ca.crt")
    assert Settings(listen=Address(host, 39999), tls=tls).tls == tls


def test_health_and_metrics_may_be_reached_from_elsewhere() -> None:
    """They change nothing."""
    assert Settings(observe=Address("0.0.0.0", 39998)).observe == Address("0.0.0.0", 39998)


def test_every_effective_setting_is_described() -> None:
    """For the one log line at start."""
    described = Settings().described()
    assert described["listen"] == {"host": "127.0.0.1", "port": 39999}
    assert set(Settings.__dataclass_fields__) == set(described)
