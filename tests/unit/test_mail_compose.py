"""The MIME message that goes to the SMTP relay."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage, MIMEPart
from email.policy import default

import pytest

from services.notification.errors import MessageRefused
from services.notification.messenger import Message, Recipient
from services.notification.smtp import compose


def composed(
    *,
    name: str = "Zoé Durand",
    email: str = "customer@example.test",
    html: str | None = "<p>Bonjour Zoé</p>\n",
    subject: str = "Your receipt: we received 9.00 €",
) -> bytes:
    message = Message(
        id="order:0198c0de:3",
        recipient=Recipient(name=name, address=email),
        subject=subject,
        text="Bonjour Zoé\n",
        html=html,
    )
    return compose(message, sender="Ordersaga <orders@example.test>")


def read(mail: bytes) -> EmailMessage:
    return message_from_bytes(mail, policy=default)


def content(part: MIMEPart) -> str:
    """Without the line ends of the wire."""
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def test_a_mail_has_a_text_and_an_html_form() -> None:
    message = read(composed())

    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert [content(part) for part in message.iter_parts()] == ["Bonjour Zoé\n", "<p>Bonjour Zoé</p>\n"]


def test_a_mail_without_html_is_plain_text_to_a_bare_address() -> None:
    message = read(composed(name="", html=None))

    assert message.get_content_type() == "text/plain"
    assert content(message) == "Bonjour Zoé\n"
    assert message["To"] == "customer@example.test"


def test_a_mail_names_its_sender_recipient_and_subject() -> None:
    message = read(composed())

    assert message["From"] == "Ordersaga <orders@example.test>"
    assert message["To"] == "Zoé Durand <customer@example.test>"
    assert message["Subject"] == "Your receipt: we received 9.00 €"
    assert message["Date"].datetime.tzinfo is not None
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_message_id_is_the_same_each_time_an_event_is_mailed() -> None:
    assert read(composed())["Message-ID"] == "<order-0198c0de-3@ordersaga>"
    assert read(composed())["Message-ID"] == read(composed())["Message-ID"]


def test_the_message_travels_as_ascii() -> None:
    mail = composed(html="<p>" + "é" * 2_000 + "</p>")

    assert mail.isascii()
    assert max(len(line) for line in mail.split(b"\r\n")) <= 78
    assert b"\n" not in mail.replace(b"\r\n", b"")


def test_a_long_subject_and_a_line_break_in_it_stay_in_one_header() -> None:
    message = read(composed(subject="Grüße " * 40 + "\r\nBcc: b@example.test"))

    assert message["Bcc"] is None
    assert message["Subject"].startswith("Grüße Grüße")


def test_a_line_break_in_a_name_makes_no_header() -> None:
    message = read(composed(name="Zoé\r\nBcc: b@example.test"))

    assert message["Bcc"] is None
    assert message["To"].addresses[0].addr_spec == "customer@example.test"


@pytest.mark.parametrize(
    "email", ["", "no-at-sign", "two@at@signs", "zoé@example.test", "a@example.test\r\nBcc: b@example.test"]
)
def test_a_malformed_address_refuses_the_mail(email: str) -> None:
    with pytest.raises(MessageRefused):
        composed(email=email)
