"""What is a name, and what an address."""

from __future__ import annotations

import pytest

from runtime.hosts import is_loopback, is_name


@pytest.mark.parametrize(
    "target", ["order:50051", "order.shop.svc:50051", "dns://127.0.0.1:53/order:50051", "localhost:1"]
)
def test_a_name_stands_for_addresses_that_change(target: str) -> None:
    assert is_name(target)


@pytest.mark.parametrize("target", ["127.0.0.1:50051", "10.1.2.3:1", "[::1]:50051"])
def test_an_address_stands_for_itself(target: str) -> None:
    assert not is_name(target)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.2", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False), ("order", False)],
)
def test_what_stays_on_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
