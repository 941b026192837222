"""What is kept of the client that somebody logs in with: enough to know it again, too little to find a household."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

from domain.texts import seen_part
from services.user.model import ClientTraits

MAX_USER_AGENT: Final = 200
_IPV4_BITS: Final = 24
_IPV6_BITS: Final = 48
"""What a provider's customer gets at most, and their next ones then (RFC 6177)."""


def to_traits(*, address: str, user_agent: str) -> ClientTraits:
    """The network that the address is in, empty for what is no address, and the beginning of what it calls itself."""
    return ClientTraits(address=_network_of(address), user_agent=seen_part(user_agent)[:MAX_USER_AGENT])


def _network_of(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    bits = _IPV4_BITS if isinstance(parsed, IPv4Address) else _IPV6_BITS
    return str(ip_network((parsed.packed, bits), strict=False))
