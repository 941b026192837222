"""The MIME message that goes to the SMTP relay."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from services.notification.errors import MessageRefused
from services.notification.messenger import Message, Recipient
from services.notification.smtp import compose


def composed(
    *, name: str = "Zoé Durand", email: str = "customer@example.test", html: str | None = "<p>Bonjour Zoé</p>\n"
) -> EmailMessage:
    message = Message(
        id="order:0198c0de:3",
        recipient=Recipient(name=name, address=email),
        subject="Your receipt: we received 9.00 €",
        text="Bonjour Zoé\n",
        html=html,
    )
    return compose(message, sender="Ordersaga <orders@example.test>")


def test_a_mail_has_a_text_and_an_html_form() -> None:
    message = composed()

    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content() for part in message.iter_parts()] == ["Bonjour Zoé\n", "<p>Bonjour Zoé</p>\n"]


def test_a_mail_without_html_is_plain_text_to_a_bare_address() -> None:
    message = composed(name="", html=None)

    assert message.get_content_type() == "text/plain"
    assert message.get_content() == "Bonjour Zoé\n"
    assert message["To"] == "customer@example.test"


def test_a_mail_names_its_sender_recipient_and_subject() -> None:
    message = composed()

    assert message["From"] == "Ordersaga <orders@example.test>"
    assert message["To"] == "Zoé Durand <customer@example.test>"
    assert message["Subject"] == "Your receipt: we received 9.00 €"
    assert message["Date"].datetime.tzinfo is not None
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_message_id_is_the_same_each_time_an_event_is_mailed() -> None:
    assert composed()["Message-ID"] == "<order-0198c0de-3@ordersaga>"
    assert composed()["Message-ID"] == composed()["Message-ID"]


def test_the_message_travels_as_ascii() -> None:
    assert composed().as_bytes().isascii()


@pytest.mark.parametrize("email", ["", "no-at-sign", "two@at@signs", "a@example.test\r\nBcc: b@example.test"])
def test_a_malformed_address_refuses_the_mail(email: str) -> None:
    with pytest.raises(MessageRefused):
        composed(email=email)
