"""Ports for servers that cannot choose one."""

from bench.simulated.extender_process import free_port


def test_a_free_port_is_below_the_range_of_outgoing_connections() -> None:
    """So that no connection takes it before the server does."""
    assert 15000 <= free_port() < 32000
