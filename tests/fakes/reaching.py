"""Loopback addresses of this machine: a machine without IPv6 has one."""

import socket

LOOPBACKS = ("127.0.0.1", "::1")


def has_ipv6() -> bool:
    """Whether a program of this machine can listen on ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def reached(port: int) -> list[str]:
    """The loopback addresses that accept a connection to a port."""
    found = []
    for host in LOOPBACKS:
        try:
            socket.create_connection((host, port), timeout=10.0).close()
        except OSError:
            continue
        found.append(host)
    return found


def expected_of_every_address() -> list[str]:
    """What `reached` says of a port on every address of this machine."""
    return list(LOOPBACKS) if has_ipv6() else ["127.0.0.1"]
