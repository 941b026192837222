"""Whose request it is: whatever a client writes into X-Forwarded-For, it cannot pass for somebody else."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.client_address import TrustedProxies, parse_address, subscriber, truncated

PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
CLIENT = "203.0.113.7"
ANYTHING = st.lists(st.text(alphabet="0123456789.:, []abcdef%x-", max_size=40), max_size=4)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (CLIENT, [], CLIENT),
        (CLIENT, ["198.51.100.1"], CLIENT),
        ("10.0.0.1", [CLIENT], CLIENT),
        ("10.0.0.1", [f"198.51.100.1, {CLIENT}"], CLIENT),
        ("10.0.0.1", [f"198.51.100.1, {CLIENT}, 10.0.0.2"], CLIENT),
        ("10.0.0.1", ["198.51.100.1", f"{CLIENT},10.0.0.2"], CLIENT),
        ("10.0.0.1", [f"{CLIENT}:4711"], CLIENT),
        ("10.0.0.1", [f"::ffff:{CLIENT}"], CLIENT),
        ("::ffff:10.0.0.1", [CLIENT], CLIENT),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("fd00::1%eth0", ["2001:db8::7%eth0"], "2001:db8::7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [f"{CLIENT}, unknown"], "10.0.0.1"),
        ("10.0.0.1", [f"{CLIENT}, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [f"{CLIENT}, "], "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy_of_ours(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client_of(peer, forwarded) == ip_address(client)


def test_without_trusted_proxies_the_header_says_nothing() -> None:
    assert TrustedProxies().client_of("10.0.0.1", [CLIENT]) == ip_address("10.0.0.1")


def test_a_peer_without_an_address_is_nobody() -> None:
    assert PROXIES.client_of("", [CLIENT]) is None


@given(invented=ANYTHING)
def test_whatever_a_client_invents_a_trusted_proxy_has_the_last_word(invented: list[str]) -> None:
    assert PROXIES.client_of("10.0.0.1", [*invented, CLIENT]) == ip_address(CLIENT)


@given(invented=ANYTHING)
def test_whatever_a_client_invents_without_a_proxy_is_not_read(invented: list[str]) -> None:
    assert PROXIES.client_of(CLIENT, invented) == ip_address(CLIENT)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    address = parse_address(text)

    assert address is None or parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("address", "counted", "logged"),
    [
        (CLIENT, CLIENT, "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ],
)
def test_ipv6_counts_by_subscriber_and_no_log_has_a_whole_address(address: str, counted: str, logged: str) -> None:
    assert subscriber(ip_address(address)) == counted
    assert truncated(ip_address(address)) == logged
