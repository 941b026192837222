from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx
import pytest
from pydantic import SecretStr

from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.mail import server
from sandbox.ports import Ports, address
from services.notification.errors import MessageDelayed, MessageRefused
from services.notification.messenger import Message, Recipient
from services.notification.sms import TwilioSms

TOKEN = "right"


def _settings(ports: Ports, *, token: str = TOKEN) -> Settings:
    return Settings(
        twilio_account_sid="AC00000000000000000000000000000000",
        twilio_auth_token=SecretStr(token),
        twilio_sender="+15005550006",
        twilio_api_base=f"http://{address(ports.mailbox)}",
    )


@asynccontextmanager
async def _sink(ports: Ports, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("ORDERSAGA_SANDBOX_SMTP_PORT", str(ports.smtp))
    monkeypatch.setenv("ORDERSAGA_SANDBOX_MAILBOX_PORT", str(ports.mailbox))
    monkeypatch.setenv("ORDERSAGA_SANDBOX_MAIL_FOLDER", str(folder))
    lifecycle = Lifecycle(asyncio.Event())
    running = asyncio.create_task(server.run(_settings(ports), lifecycle))
    started = asyncio.create_task(lifecycle.started.wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        started.cancel()
        await running
    async with httpx.AsyncClient(base_url=f"http://{address(ports.mailbox)}") as client:
        yield client
    lifecycle.stopping.set()
    await running


def _paid_mail(recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ordersaga <orders@example.test>"
    message["To"] = recipient
    message["Subject"] = "Your order is paid – thank you"
    message["Message-ID"] = "<order.o1.3@example.test>"
    message.set_content("Paid: 49.99 €\n")
    message.add_alternative("<p>Paid: <b>49.99 €</b></p><script>alert(1)</script>", subtype="html")
    return message


async def _send_sms(
    settings: Settings, *, to: str = "+4915112345678", text: str = "Your parcel is here: 5 € to pay"
) -> None:
    """As the notification service does, with Twilio's own client."""
    twilio = TwilioSms.of(settings)
    assert twilio is not None
    try:
        recipient = Recipient(name="", address=to)
        await twilio.send(Message(id="notification:1", recipient=recipient, subject="", text=text, html=None))
    finally:
        await twilio.close()


async def _send(ports: Ports, recipient: str) -> None:
    await aiosmtplib.send(_paid_mail(recipient), hostname="127.0.0.1", port=ports.smtp)


async def test_a_sent_mail_is_in_the_mailbox_with_its_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send(ports, "customer@example.test")
        mails = (await mailbox.get("/messages.json")).json()

    assert len(mails) == 1
    assert mails[0].pop("received_at")
    assert mails[0] == {
        "id": "000001",
        "channel": "email",
        "from": "Ordersaga <orders@example.test>",
        "to": ["customer@example.test"],
        "subject": "Your order is paid – thank you",
        "message_id": "<order.o1.3@example.test>",
        "text": "Paid: 49.99 €\n",
        "html": "<p>Paid: <b>49.99 €</b></p><script>alert(1)</script>\n",
    }


async def test_the_mailbox_finds_the_mails_to_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send(ports, "customer@example.test")
        await _send(ports, "other@example.test")
        mails = (await mailbox.get("/messages.json", params={"to": "OTHER@example.test"})).json()

    assert [found["to"] for found in mails] == [["other@example.test"]]


async def test_a_mails_page_shows_its_html_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send(ports, "customer@example.test")
        listing = (await mailbox.get("/")).text
        page = (await mailbox.get("/messages/000001")).text
        missing = await mailbox.get("/messages/000002")

    assert 'href="/messages/000001"' in listing
    assert "<iframe sandbox" in page
    assert "<script>" not in page
    assert missing.status_code == 404


async def test_a_restarted_sink_still_has_the_mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send(ports, "customer@example.test")
        before = (await mailbox.get("/messages.json")).json()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        after = (await mailbox.get("/messages.json")).json()

    assert after == before


async def test_an_sms_sent_with_twilios_client_is_in_the_mailbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send(ports, "customer@example.test")
        await _send_sms(_settings(ports))
        [sms] = (await mailbox.get("/messages.json", params={"to": "+4915112345678"})).json()
        listing = (await mailbox.get("/")).text
        page = (await mailbox.get("/messages/000002")).text

    assert sms.pop("received_at")
    assert sms.pop("message_id").startswith("SM")
    assert sms == {
        "id": "000002",
        "channel": "sms",
        "from": "+15005550006",
        "to": ["+4915112345678"],
        "subject": "",
        "text": "Your parcel is here: 5 € to pay",
        "html": None,
    }
    assert "<td>sms</td>" in listing
    assert ">Your parcel is here: 5 € to pay</a>" in listing
    assert "<pre>Your parcel is here: 5 € to pay</pre>" in page


async def test_a_restarted_sink_counts_on_after_an_sms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send_sms(_settings(ports))
        before = (await mailbox.get("/messages.json")).json()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        await _send(ports, "customer@example.test")
        after = (await mailbox.get("/messages.json")).json()

    assert [message["channel"] for message in after] == ["sms", "email"]
    assert [message["id"] for message in after] == ["000001", "000002"]
    assert after[:1] == before


@pytest.mark.parametrize(
    ("to", "text", "code"),
    [
        ("+15005550001", "Hello", 21211),
        ("+15005550009", "Hello", 21614),
        ("12345", "Hello", 21211),
        ("+4915112345678", " ", 21602),
        ("+4915112345678", "x" * 1_601, 21617),
    ],
)
async def test_the_twilio_double_refuses_what_twilio_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, text: str, code: int
) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        with pytest.raises(MessageRefused, match=f"^Twilio 400 {code}$"):
            await _send_sms(_settings(ports), to=to, text=text)
        assert (await mailbox.get("/messages.json")).json() == []


async def test_a_wrong_twilio_token_is_not_the_messages_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    async with _sink(ports, tmp_path, monkeypatch) as mailbox:
        with pytest.raises(MessageDelayed, match=r"^Twilio 401 20003$"):
            await _send_sms(_settings(ports, token="wrong"))
        assert (await mailbox.get("/messages.json")).json() == []


async def test_an_sms_waits_while_twilio_does_not_answer() -> None:
    with pytest.raises(MessageDelayed, match=r"^ConnectError$"):
        await _send_sms(_settings(Ports.free()))
