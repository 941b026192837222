"""Sending a mail by SMTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from email.charset import QP, Charset
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.policy import compat32
from email.utils import format_datetime, formataddr, parseaddr
from typing import Final

import aiosmtplib

from runtime.settings import Settings
from services.notification.errors import MessageDelayed, MessageRefused
from services.notification.messenger import Message

_TIMEOUT_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 10.0
"""How long a connection is kept for the next mail; relays wait for minutes (RFC 5321, 4.5.3.2.7)."""
_POLICY: Final = compat32.clone(linesep="\r\n")
_UTF8: Final = Charset("utf-8")
_UTF8.body_encoding = QP
"""Bodies as quoted-printable: not every relay takes 8-bit text."""


def compose(message: Message, *, sender: str) -> bytes:
    """The message as MIME: plain text, and HTML where there is some.

    Its Message-ID (RFC 5322, 3.6.4) is made of the message's id: a repeated mail has the same one.

    Raises:
        MessageRefused: the address is none.
    """
    # Python's older mail classes: EmailMessage parses its own headers again and again, for ten times the CPU.
    mail: MIMEBase = _text(message.text, "plain")
    if message.html is not None:
        mail = MIMEMultipart("alternative", _subparts=[mail, _text(message.html, "html")])
    mail["From"] = formataddr(parseaddr(sender))
    name = " ".join(message.recipient.name.split())
    mail["To"] = formataddr((name, _check_address(message.recipient.address)))
    mail["Subject"] = Header(" ".join(message.subject.split()), header_name="Subject").encode()
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{message.id.replace(':', '-')}@ordersaga>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    return mail.as_bytes(policy=_POLICY)


def _text(content: str, subtype: str) -> MIMENonMultipart:
    part = MIMENonMultipart("text", subtype)
    part.set_payload(content, _UTF8)
    return part


def _check_address(address: str) -> str:
    try:
        address.encode("ascii")  # not every relay takes others (RFC 6531)
        return Address(addr_spec=address).addr_spec
    except (MessageError, ValueError, IndexError):  # IndexError is what the parser has for an empty address
        raise MessageRefused("the address is malformed") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mail:
    """A mail as it travels, and to whom."""

    recipient: str
    content: bytes


class Smtp:
    """The SMTP relay that takes our mails.

    A connection is kept a while for the next mail, since opening one, with TLS and a login, costs more than a mail.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sender = parseaddr(settings.mail_sender)[1]
        self._idle: dict[aiosmtplib.SMTP, asyncio.TimerHandle] = {}
        """Connections that wait for a mail, and what ends their wait."""

    async def send(self, message: Message) -> None:
        """See `Messenger`. The relay refuses for good with a 5xx answer to sender, recipient or content.

        Anything else is a delay, a wrong login included: that is not the mail's fault.
        """
        mail = _Mail(recipient=message.recipient.address, content=compose(message, sender=self._settings.mail_sender))
        try:
            if not await self._send_over_idle(mail):
                await self._send_over(await self._connect(), mail)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _error_of(error.recipients[0]) from None
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            raise _error_of(error) from None
        except aiosmtplib.SMTPResponseException as error:
            raise MessageDelayed(f"{type(error).__name__} {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MessageDelayed(type(error).__name__) from None

    def close(self) -> None:
        """Close the connections that wait for a mail."""
        while (client := self._take_idle()) is not None:
            _hang_up(client)

    async def _connect(self) -> aiosmtplib.SMTP:
        password = self._settings.smtp_password
        client = aiosmtplib.SMTP(
            hostname=self._settings.smtp_host,
            port=self._settings.smtp_port,
            username=self._settings.smtp_user,
            password=None if password is None else password.get_secret_value(),
            use_tls=self._settings.smtp_tls == "tls",
            start_tls=self._settings.smtp_tls == "starttls",
            timeout=_TIMEOUT_SECONDS,
        )
        await client.connect()
        return client

    async def _send_over_idle(self, mail: _Mail) -> bool:
        """Send over a connection that was waiting; false if there is none, or it turns out to have ended."""
        client = self._take_idle()
        if client is None:
            return False
        try:
            await self._send_over(client, mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            if not _is_end(error):
                raise
            return False
        return True

    async def _send_over(self, client: aiosmtplib.SMTP, mail: _Mail) -> None:
        """Send, and keep the connection for the next mail; an error ends it."""
        try:
            await client.sendmail(self._sender, mail.recipient, mail.content)
        except BaseException:
            _hang_up(client)
            raise
        self._idle[client] = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire, client)

    def _take_idle(self) -> aiosmtplib.SMTP | None:
        while self._idle:
            client, expiry = self._idle.popitem()
            expiry.cancel()
            if client.is_connected:
                return client
        return None

    def _expire(self, client: aiosmtplib.SMTP) -> None:
        del self._idle[client]
        _hang_up(client)


def _hang_up(client: aiosmtplib.SMTP) -> None:
    """Say goodbye, as RFC 5321 (4.1.1.10) wants it, without waiting for the answer, and close the connection."""
    if client.protocol is not None and client.is_connected:
        client.protocol.write(b"QUIT\r\n")
    client.close()


def _is_end(error: Exception) -> bool:
    """Whether the connection has ended, which says nothing about the mail: it broke, or the relay gave it up."""
    return isinstance(error, OSError) or (isinstance(error, aiosmtplib.SMTPResponseException) and error.code == 421)


def _error_of(error: aiosmtplib.SMTPResponseException) -> MessageDelayed | MessageRefused:
    kind = MessageRefused if 500 <= error.code <= 599 else MessageDelayed
    return kind(f"{type(error).__name__} {error.code}")
