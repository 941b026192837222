"""Names of hosts."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_name(target: str) -> bool:
    """Whether a ``host:port`` stands for addresses that change while it stays: not where the host is an IP address."""
    try:
        ip_address(target.rpartition(":")[0].strip("[]"))
    except ValueError:
        return True
    return False
