"""The mail sink: an SMTP server and a Twilio double that deliver to nobody, and their mailbox as a page and as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from aiosmtpd.smtp import SMTP
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, MediaType, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from runtime.http_server import http_server
from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.mail.mailbox import Mailbox, Message
from sandbox.mail.twilio_double import TwilioAccount, twilio_double
from sandbox.settings import SandboxSettings

log = structlog.stdlib.get_logger(__name__)

HOST: Final = "127.0.0.1"

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Receive every mail, and every SMS of the settings' Twilio account, until the process stops."""
    sandbox = SandboxSettings.load()
    mailbox = Mailbox(sandbox.mail_folder)
    account = TwilioAccount.of(settings)
    app = mailbox_app(mailbox, *([] if account is None else [twilio_double(mailbox, account)]))
    loop = asyncio.get_running_loop()
    # Without a host name aiosmtpd would ask the name service, once per connection.
    smtp = await loop.create_server(
        lambda: SMTP(mailbox, hostname="sink.example.test", enable_SMTPUTF8=True, loop=loop), HOST, sandbox.smtp_port
    )
    try:
        async with http_server(app, host=HOST, port=sandbox.mailbox_port, grace=settings.shutdown_grace):
            log.info("mail_sink.ready", smtp_port=sandbox.smtp_port, mailbox_port=sandbox.mailbox_port)
            lifecycle.ready()
            await lifecycle.stopping.wait()
    finally:
        smtp.close()


def mailbox_app(mailbox: Mailbox, *more: HTTPRouteHandler) -> Litestar:
    """The mailbox's page and JSON, and what else answers at its address."""

    @get("/", media_type=MediaType.HTML, sync_to_thread=False)
    def page() -> str:
        return _templates.get_template("mailbox.html").render(messages=list(reversed(mailbox.all())))

    @get("/messages.json", sync_to_thread=False)
    def messages(to: FromQuery[str | None] = None) -> Sequence[Message]:
        return mailbox.all(to=to)

    @get("/messages/{message_id:str}", media_type=MediaType.HTML, sync_to_thread=False)
    def message(message_id: FromPath[str]) -> str:
        found = mailbox.get(message_id)
        if found is None:
            raise NotFoundException(f"There is no message {message_id}.")
        return _templates.get_template("message.html").render(message=found)

    return Litestar([page, messages, message, *more], openapi_config=None, logging_config=None)
