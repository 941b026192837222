"""Sending a mail by SMTP."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
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
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.trace import SpanKind

from domain.emails import is_email
from runtime.hosts import is_loopback
from runtime.settings import Settings, SettingsError
from runtime.tracing import Attributes, span
from services.notification.errors import MailRelayUnusable, MessageDelayed, MessageRefused
from services.notification.messenger import Message

_TIMEOUT_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 10.0
"""How long a connection is kept for the next mail; relays wait for minutes (RFC 5321, 4.5.3.2.7)."""
_WANTS_A_LOGIN: Final = (530, 534, 535, 538)
"""RFC 4954, section 6; 530 and 538 also where it wants encryption first (RFC 3207, section 4)."""
_LOGIN_OR_TLS: Final = "see ORDERSAGA_SMTP_USER and ORDERSAGA_SMTP_TLS"
_POLICY: Final = compat32.clone(linesep="\r\n")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
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
    mail["To"] = formataddr((_on_a_line(message.recipient.name), _check_address(message.recipient.address)))
    mail["Subject"] = Header(_on_a_line(message.subject), header_name="Subject").encode()
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{message.id.replace(':', '-')}@ordersaga>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    return mail.as_bytes(policy=_POLICY)


def _on_a_line(text: str) -> str:
    """For a header: whatever ends lines there, or is a control character, is a space."""
    return " ".join(_CONTROLS.sub(" ", text).split())


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

    Raises:
        SettingsError: a password would travel in clear, a login is incomplete, the sender is no address, or the CA file
            cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sender = _check_sender(settings.mail_sender)
        self._tls = _check_tls(settings)
        self._login = _check_login(settings, tls=self._tls)
        _check_ca(settings)
        self._idle: dict[aiosmtplib.SMTP, asyncio.TimerHandle] = {}
        """Connections that wait for a mail, and what ends their wait."""

    async def send(self, message: Message) -> None:
        """See `Messenger`. The relay refuses for good with a 5xx answer to sender, recipient or content.

        Anything else is a delay. A login that it wants or does not take, and a certificate that is not trusted, are
        nobody's fault but ours: no mail is tried until some time has passed (`MailRelayUnusable`).
        """
        mail = _Mail(recipient=message.recipient.address, content=compose(message, sender=self._settings.mail_sender))
        attributes: Attributes = {SERVER_ADDRESS: self._settings.smtp_host, SERVER_PORT: self._settings.smtp_port}
        with span("smtp send", SpanKind.CLIENT, attributes=attributes), _delays():
            try:
                if not await self._send_over_idle(mail):
                    await self._send_over(await self._connect(), mail)
            except aiosmtplib.SMTPRecipientsRefused as error:
                raise _error_of(error.recipients[0]) from None
            except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
                raise _error_of(error) from None

    async def find_problem(self) -> str | None:
        """Why the relay cannot be used, in words: it is away, is not trusted, or does not take our login."""
        try:
            with _delays():
                _hang_up(await self._connect())
        except MailRelayUnusable as unusable:
            return str(unusable)
        except MessageDelayed as away:
            where = f"{self._settings.smtp_host}:{self._settings.smtp_port}"
            return f"no SMTP relay answers at {where} ({away}); see ORDERSAGA_SMTP_HOST and ORDERSAGA_SMTP_PORT"
        return None

    def close(self) -> None:
        """Close the connections that wait for a mail."""
        while (client := self._take_idle()) is not None:
            _hang_up(client)

    async def _connect(self) -> aiosmtplib.SMTP:
        username, password = self._login or (None, None)
        client = aiosmtplib.SMTP(
            hostname=self._settings.smtp_host,
            port=self._settings.smtp_port,
            username=username,
            password=password,
            use_tls=self._tls == "tls",
            start_tls=self._tls == "starttls",
            tls_context=None if self._tls == "none" else ssl.create_default_context(cafile=self._settings.smtp_ca_file),
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


def _check_sender(sender: str) -> str:
    address = parseaddr(sender)[1]
    if not is_email(address):
        raise SettingsError(
            f"ORDERSAGA_MAIL_SENDER: {sender!r} has no e-mail address, as in Shop <orders@example.test>"
        )
    return address


def _check_tls(settings: Settings) -> str:
    """How the connection is encrypted: as the setting says, or by STARTTLS unless the relay is on this machine."""
    if settings.smtp_tls is not None:
        return settings.smtp_tls
    return "none" if is_loopback(settings.smtp_host) else "starttls"


def _check_ca(settings: Settings) -> None:
    """It is read again at each connection; what is wrong with it is to end the start."""
    try:
        ssl.create_default_context(cafile=settings.smtp_ca_file)
    except OSError as error:
        raise SettingsError(
            f"ORDERSAGA_SMTP_CA_FILE: {settings.smtp_ca_file} cannot be used: {error.strerror}"
        ) from None


def _check_login(settings: Settings, *, tls: str) -> tuple[str, str] | None:
    if settings.smtp_user is None:
        if settings.smtp_password is not None:
            raise SettingsError("ORDERSAGA_SMTP_PASSWORD is set, and ORDERSAGA_SMTP_USER is not")
        return None
    if tls == "none" and not is_loopback(settings.smtp_host):
        raise SettingsError("ORDERSAGA_SMTP_TLS: with none the password would travel in clear; use starttls or tls")
    return settings.smtp_user, settings.required("smtp_password")


def _hang_up(client: aiosmtplib.SMTP) -> None:
    """Say goodbye, as RFC 5321 (4.1.1.10) wants it, without waiting for the answer, and close the connection."""
    if client.protocol is not None and client.is_connected:
        client.protocol.write(b"QUIT\r\n")
    client.close()


def _is_end(error: Exception) -> bool:
    """Whether the connection has ended, which says nothing about the mail: it broke, or the relay gave it up."""
    return isinstance(error, OSError) or (isinstance(error, aiosmtplib.SMTPResponseException) and error.code == 421)


@contextmanager
def _delays() -> Iterator[None]:
    """What goes wrong before there is any talk of a mail is a delay."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        raise _error_of_session(error) from None
    except (ssl.SSLError, aiosmtplib.SMTPException) as error:
        raise _error_of_connection(error) from None
    except (OSError, ValueError) as error:
        raise MessageDelayed(type(error).__name__) from None


def _error_of_session(error: aiosmtplib.SMTPResponseException) -> MessageDelayed:
    """What the relay says before there is any talk of the mail."""
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return MailRelayUnusable(
            f"the SMTP relay does not take our login ({error.code}); see ORDERSAGA_SMTP_USER, ORDERSAGA_SMTP_PASSWORD"
        )
    return MessageDelayed(f"{type(error).__name__} {error.code}")


def _error_of_connection(error: ssl.SSLError | aiosmtplib.SMTPException) -> MessageDelayed:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return MailRelayUnusable(
                f"the SMTP relay's certificate is not trusted: {cause.verify_message}; see ORDERSAGA_SMTP_CA_FILE"
            )
        if isinstance(cause, ssl.SSLError):
            return MailRelayUnusable(
                f"no encrypted connection to the SMTP relay came about ({cause.reason}); see ORDERSAGA_SMTP_TLS"
            )
        cause = cause.__cause__ or cause.__context__
    if "AUTH" in str(error):  # it advises STARTTLS, too
        return MailRelayUnusable(
            "the SMTP relay takes no login over this connection; see ORDERSAGA_SMTP_TLS and ORDERSAGA_SMTP_USER"
        )
    if "STARTTLS" in str(error):
        return MailRelayUnusable("the SMTP relay has no STARTTLS; see ORDERSAGA_SMTP_TLS")
    return MessageDelayed(type(error).__name__)


def _error_of(error: aiosmtplib.SMTPResponseException) -> MessageDelayed | MessageRefused:
    if error.code in _WANTS_A_LOGIN:
        return MailRelayUnusable(f"the SMTP relay wants a login or encryption ({error.code}); {_LOGIN_OR_TLS}")
    kind = MessageRefused if 500 <= error.code <= 599 else MessageDelayed
    return kind(f"{type(error).__name__} {error.code}")
