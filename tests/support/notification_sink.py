"""Where notifications go in tests: the sink's SMTP server and Twilio double, and the service that sends to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.mail import server
from sandbox.ports import Ports, address
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.directory import Directory
from services.notification.messenger import Message, Messenger
from tests.support.gateway import Gateway


class QueuedSms:
    """Stands where SMS leave in tests that send none: it only says that SMS are configured."""

    async def send(self, message: Message) -> None:
        """See `Messenger`."""
        raise AssertionError("nothing is sent in this test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A running sink: the settings that send to it, and its mailbox."""

    settings: Settings
    mailbox: httpx.AsyncClient

    async def received(self, *, to: str) -> list[dict[str, Any]]:
        """What has come for an address or number."""
        messages: list[dict[str, Any]] = (await self.mailbox.get("/messages.json", params={"to": to})).json()
        return messages


@asynccontextmanager
async def running_sink(folder: Path) -> AsyncIterator[Sink]:
    """The stack's own mail sink on free ports."""
    ports = Ports.free()
    settings = Settings(
        smtp_port=ports.smtp,
        twilio_account_sid=f"AC{0:032x}",
        twilio_auth_token=SecretStr("token"),
        twilio_sender="+15005550006",
        twilio_api_base=f"http://{address(ports.mailbox)}",
        shutdown_grace=1,
    )
    lifecycle = Lifecycle(asyncio.Event())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ORDERSAGA_SANDBOX_SMTP_PORT", str(ports.smtp))
        environment.setenv("ORDERSAGA_SANDBOX_MAILBOX_PORT", str(ports.mailbox))
        environment.setenv("ORDERSAGA_SANDBOX_MAIL_FOLDER", str(folder))
        running = asyncio.create_task(server.run(settings, lifecycle))
        await lifecycle.started.wait()
    async with httpx.AsyncClient(base_url=settings.twilio_api_base or "") as mailbox:
        yield Sink(settings=settings, mailbox=mailbox)
    lifecycle.stopping.set()
    await running


@asynccontextmanager
async def sending_service(
    dsn: str, gateway: Gateway, settings: Settings, *, mail: Messenger | None = None
) -> AsyncIterator[NotificationComponents]:
    """The notification service with the real messengers, or another one for mails, and the gateway's services to ask.

    It sends when `send_all` lets it.
    """
    changes = {"notification_dsn": SecretStr(dsn), "database_pool_size": 4, "require_confirmed_email": False}
    settings = settings.model_copy(update=changes)
    directory = Directory(
        users=gateway.services.user, products=gateway.services.product, orders=gateway.services.order, deadline=5
    )
    async with bootstrap(settings, directory=directory, mail=mail) as components:
        yield components


async def send_all(service: NotificationComponents) -> None:
    """Send whatever is due."""
    await service.sender.process_due()
