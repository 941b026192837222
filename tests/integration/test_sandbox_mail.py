from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx
import pytest

from runtime.process import Life
from runtime.settings import Settings
from sandbox import mail
from sandbox.ports import Ports, address


@asynccontextmanager
async def _sink(ports: Ports, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("ORDERSAGA_SANDBOX_SMTP_PORT", str(ports.smtp))
    monkeypatch.setenv("ORDERSAGA_SANDBOX_MAILBOX_PORT", str(ports.mailbox))
    monkeypatch.setenv("ORDERSAGA_SANDBOX_MAIL_FOLDER", str(folder))
    life = Life(asyncio.Event())
    part = asyncio.create_task(mail.run(Settings(), life))
    started = asyncio.create_task(life.started.wait())
    await asyncio.wait({part, started}, return_when=asyncio.FIRST_COMPLETED)
    if part.done():
        started.cancel()
        await part
    async with httpx.AsyncClient(base_url=f"http://{address(ports.mailbox)}") as client:
        yield client
    life.stopping.set()
    await part


def _paid_mail(recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ordersaga <orders@example.test>"
    message["To"] = recipient
    message["Subject"] = "Your order is paid – thank you"
    message["Message-ID"] = "<order.o1.3@example.test>"
    message.set_content("Paid: 49.99 €\n")
    message.add_alternative("<p>Paid: <b>49.99 €</b></p><script>alert(1)</script>", subtype="html")
    return message


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
