"""Sending a mail by SMTP."""

from __future__ import annotations

from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

import aiosmtplib

from runtime.settings import Settings
from services.notification.errors import MessageDelayed, MessageRefused
from services.notification.messenger import Message

_TIMEOUT_SECONDS: Final = 10.0
_POLICY: Final = SMTP.clone(cte_type="7bit")
"""Bodies as quoted-printable: not every relay takes 8-bit text."""


def compose(message: Message, *, sender: str) -> EmailMessage:
    """The message as MIME: plain text, and HTML where there is some.

    Its Message-ID (RFC 5322, 3.6.4) is made of the message's id: a repeated mail has the same one.

    Raises:
        MessageRefused: the address is none.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    try:
        mail["To"] = Address(display_name=message.recipient.name, addr_spec=message.recipient.address)
    except (MessageError, ValueError, IndexError):  # IndexError is what the parser has for an empty address
        raise MessageRefused("the address is malformed") from None
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{message.id.replace(':', '-')}@ordersaga>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    mail.set_content(message.text)
    if message.html is not None:
        mail.add_alternative(message.html, subtype="html")
    return mail


class Smtp:
    """The SMTP relay that takes our mails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, message: Message) -> None:
        """See `Messenger`. The relay refuses for good with a 5xx answer to sender, recipient or content.

        Anything else is a delay, a wrong login included: that is not the mail's fault.
        """
        mail = compose(message, sender=self._settings.mail_sender)
        try:
            await aiosmtplib.send(
                mail,
                hostname=self._settings.smtp_host,
                port=self._settings.smtp_port,
                username=self._settings.smtp_user,
                password=self._password(),
                use_tls=self._settings.smtp_tls == "tls",
                start_tls=self._settings.smtp_tls == "starttls",
                timeout=_TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _verdict(error.recipients[0]) from None
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            raise _verdict(error) from None
        except aiosmtplib.SMTPResponseException as error:
            raise MessageDelayed(f"{type(error).__name__} {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MessageDelayed(type(error).__name__) from None

    def _password(self) -> str | None:
        password = self._settings.smtp_password
        return None if password is None else password.get_secret_value()


def _verdict(error: aiosmtplib.SMTPResponseException) -> MessageDelayed | MessageRefused:
    kind = MessageRefused if 500 <= error.code <= 599 else MessageDelayed
    return kind(f"{type(error).__name__} {error.code}")
