"""Listens on one address of this machine, or on all of them, IPv4 and IPv6, as far as its kernel has them."""

import logging
import socket

_LOG = logging.getLogger(__name__)

EVERY_ADDRESS = "::"
EVERY_IPV4_ADDRESS = "0.0.0.0"  # noqa: S104 - what a setting may ask for


def listening_socket(host: str, port: int, backlog: int) -> socket.socket:
    """A TCP socket that listens; port 0 takes a free one.

    The host `::` means every address, so that probes get through whichever of IPv4 and IPv6 a cluster uses: IPv4
    clients have an IPv4-mapped address there (RFC 3493, 3.7). A kernel without IPv6 has the IPv4 addresses only.

    Raises:
        OSError: the address can't be listened on.
    """
    if host == EVERY_ADDRESS and not socket.has_dualstack_ipv6():
        _LOG.info("no IPv6 here: listening on every IPv4 address instead of [::]")
        host = EVERY_IPV4_ADDRESS
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = found[0]
    both = host == EVERY_ADDRESS
    return socket.create_server((str(place[0]), int(place[1])), family=family, backlog=backlog, dualstack_ipv6=both)
