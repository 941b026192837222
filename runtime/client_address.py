"""Whose request it is, by address: behind proxies of ours too, and shown in no log as a whole.

`X-Forwarded-For` is a list to which each proxy adds whom it got the request from. What stands left of the first
address that is no proxy of ours may be anybody's invention, so the list is read from its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_SUBSCRIBER_V6: Final = 64
"""Bits of an IPv6 address that a subscriber cannot choose: whoever has one address has all of its /64."""
_LOGGED_V4: Final = 24
_LOGGED_V6: Final = 48
"""Bits of an address that are logged: enough to see where a flood comes from, too few to tell people apart."""


class TrustedProxies:
    """The proxies whose word about their clients is taken.

    Args:
        networks: where they are.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._networks)

    def client_of(self, peer: str, forwarded: Sequence[str]) -> Address | None:
        """Who asks: the last address of the way here that is no trusted proxy's.

        A proxy that says nothing readable of its client stands for that client.

        Args:
            peer: who is connected to us; no address where that is no TCP.
            forwarded: the request's `X-Forwarded-For` headers in their order.
        """
        address = parse_address(peer)
        if address is None or not self._networks:
            return address
        way = ",".join(forwarded).split(",") if forwarded else []
        while way and self._trusts(address):
            before = parse_address(way.pop())
            if before is None:
                break
            address = before
        return address

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """An address as proxies write it, a port behind it or not; None for anything else.

    An IPv4 address inside of an IPv6 one (``::ffff:203.0.113.7``) is that IPv4 address.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def subscriber(address: Address) -> str:
    """Whom the address stands for where somebody's requests are counted: one IPv4 address, or an IPv6 /64."""
    return str(address) if address.version == 4 else _network(address, _SUBSCRIBER_V6)


def truncated(address: Address) -> str:
    """What a log may say of the address: the network around it."""
    return _network(address, _LOGGED_V4 if address.version == 4 else _LOGGED_V6)


def _network(address: Address, bits: int) -> str:
    return str(ip_network((address, bits), strict=False))
