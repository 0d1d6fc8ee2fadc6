"""Decides which Host headers a browser's requests may carry, so that no web page can reach the extender by rebinding.

A page of `evil.example` whose name is made to resolve to 127.0.0.1 may read what its own origin serves; the Host header
still says `evil.example`.
"""

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

_LITERAL = re.compile(r"\[([0-9a-f:.]+)\](?::[0-9]+)?", re.IGNORECASE | re.ASCII)
_BARE = re.compile(r"([0-9a-f]*:[0-9a-f:.]*:[0-9a-f.]*)", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"([^\[\]:]+)(?::[0-9]+)?", re.ASCII)


class AllowedHosts:
    """Loopback names and addresses, the address that was connected to, and the names that a setting allows."""

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = {"localhost", *(name.lower() for name in names)}

    def allows(self, host: str, own_address: str) -> bool:
        """Whether a request to `own_address` may carry this Host header (NAME, NAME:PORT or [ADDRESS]:PORT)."""
        found = _LITERAL.fullmatch(host) or _BARE.fullmatch(host) or _NAME.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().removesuffix(".")
        if name in self._names or name.endswith(".localhost"):
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or address == _address(own_address))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
