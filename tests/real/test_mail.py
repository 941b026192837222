"""The notification service's mails through a real mail server that wants STARTTLS and a login."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox.certificates import CertificateAuthority
from services.notification.errors import MailRelayUnusable
from services.notification.messenger import Message, Recipient
from services.notification.smtp import Smtp
from tests.support.client import until
from tests.support.real.exim import EximRelay
from tests.support.real.stack import Shopper, stack_on

pytestmark = [pytest.mark.real, pytest.mark.needs("exim")]

ORDERS = 20
TRIED = """
    SELECT status, last_error FROM notifications
     WHERE order_id = %s AND last_error IS NOT NULL ORDER BY order_seq LIMIT 1
"""


async def send(relay: EximRelay, **changes: Any) -> None:
    messenger = Smtp(relay.settings(**changes))
    recipient = Recipient(name="Ada Byron", address="nobody@example.test")
    try:
        await messenger.send(Message(id="mail:1", recipient=recipient, subject="Hello", text="Hello\n", html=None))
    finally:
        messenger.close()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"smtp_password": "wrong"}, r"does not take our login .*ORDERSAGA_SMTP_PASSWORD"),
        ({"smtp_user": None, "smtp_password": None}, r"wants a login .*ORDERSAGA_SMTP_USER"),
        ({"smtp_ca_file": None}, r"certificate is not trusted: .*ORDERSAGA_SMTP_CA_FILE"),
        (
            {"smtp_user": None, "smtp_password": None, "smtp_tls": "none"},
            r"wants a login or encryption .*ORDERSAGA_SMTP_TLS",
        ),
    ],
    ids=["wrong password", "no login", "untrusted certificate", "no encryption"],
)
async def test_what_keeps_the_relay_from_taking_mails_is_named(
    relay: EximRelay, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(MailRelayUnusable, match=problem):
        await send(relay, **changes)

    assert await relay.received(to="nobody@example.test") == []


async def test_every_order_is_mailed_about_twice_and_each_mail_comes_once(relay: EximRelay, tmp_path: Path) -> None:
    async with stack_on(tmp_path / "var", relay) as client:
        shopper = await Shopper.enter(client, units=ORDERS)
        orders = await shopper.buy(ORDERS)
        mails = await until(
            lambda: relay.received_about_orders(to=shopper.customer.email), lambda mails: len(mails) >= 2 * len(orders)
        )

    expected = [f"<order-{order['id']}-{seq}@ordersaga>" for order in orders for seq in (2, 3)]
    assert sorted(str(mail["Message-ID"]) for mail in mails) == sorted(expected)


async def test_mails_wait_with_their_reason_until_a_start_with_settings_that_are_right(
    relay: EximRelay, tmp_path: Path
) -> None:
    var = tmp_path / "var"
    (tmp_path / "other.pem").write_bytes(CertificateAuthority().pem)
    wrong = {
        "does not take our login": {"ORDERSAGA_SMTP_PASSWORD": "wrong"},
        "certificate is not trusted": {"ORDERSAGA_SMTP_CA_FILE": str(tmp_path / "other.pem")},
    }
    orders: list[tuple[str, str]] = []
    for problem, settings in wrong.items():
        async with stack_on(var, relay, settings=settings) as client:
            shopper = await Shopper.enter(client, units=1)
            [order] = await shopper.buy(1)
            orders.append((order["id"], shopper.customer.email))
            [(status, error)] = await until(
                partial(client.rows, "notification", TRIED, order["id"]), lambda rows: len(rows) > 0
            )
        assert status == "PENDING"
        assert problem in error

    async with stack_on(var, relay) as client:
        for order_id, email in orders:
            mails = await until(partial(relay.received_about_orders, to=email), lambda mails: len(mails) >= 2)
            names = sorted(str(mail["Message-ID"]) for mail in mails)  # the relay delivers several at once
            assert names == [f"<order-{order_id}-{seq}@ordersaga>" for seq in (2, 3)]
