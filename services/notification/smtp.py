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
from services.notification.errors import MailDelayed, MailRefused
from services.notification.model import Recipient
from services.notification.rendering import RenderedMail

_TIMEOUT_SECONDS: Final = 10.0
_POLICY: Final = SMTP.clone(cte_type="7bit")
"""Bodies as quoted-printable: not every relay takes 8-bit text."""


def message_id(ce_id: str) -> str:
    """The Message-ID (RFC 5322, 3.6.4) of the mail about an event: a repeated mail has the same one."""
    return f"<{ce_id.replace(':', '-')}@ordersaga>"


def compose(mail: RenderedMail, recipient: Recipient, *, sender: str, message_id: str) -> EmailMessage:
    """The mail as a MIME message: plain text, and HTML for those who like it better.

    Raises:
        MailRefused: the address is none.
    """
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    try:
        message["To"] = Address(display_name=recipient.name, addr_spec=recipient.email)
    except (MessageError, ValueError, IndexError):  # IndexError is what the parser has for an empty address
        raise MailRefused("the address is malformed") from None
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


class Smtp:
    """The SMTP relay that takes our mails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, message: EmailMessage) -> None:
        """Hand a mail over; the relay has taken responsibility for it when this returns.

        Raises:
            MailRefused: the relay refuses this mail for good (a 5xx answer to its sender, recipient or content).
            MailDelayed: anything else, a wrong login included: that is not the mail's fault.
        """
        try:
            await aiosmtplib.send(
                message,
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
            raise MailDelayed(f"{type(error).__name__} {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MailDelayed(type(error).__name__) from None

    def _password(self) -> str | None:
        password = self._settings.smtp_password
        return None if password is None else password.get_secret_value()


def _verdict(error: aiosmtplib.SMTPResponseException) -> MailDelayed | MailRefused:
    kind = MailRefused if 500 <= error.code <= 599 else MailDelayed
    return kind(f"{type(error).__name__} {error.code}")
