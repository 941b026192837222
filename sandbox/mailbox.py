"""What the SMTP sink has received, in memory and as .eml files."""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

RECIPIENT_HEADER = "X-Envelope-To"
"""Added to each stored mail: whom the envelope named, which is not always whom the To header names."""

_parser = BytesParser(_class=EmailMessage, policy=email.policy.default)


class Mail(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A received mail.

    Attributes:
        to: the envelope's recipients.
        text: its plain text body, or None.
        html: its HTML body, or None.
    """

    id: str
    received_at: datetime
    sender: str
    to: tuple[str, ...]
    subject: str
    message_id: str
    text: str | None
    html: str | None


class Mailbox:
    """All received mails, oldest first; those of earlier runs are read from the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._mails = [_read(path) for path in sorted(folder.glob("*.eml"))]

    def all(self, *, to: str | None = None) -> Sequence[Mail]:
        """The mails, or those to one address."""
        if to is None:
            return tuple(self._mails)
        return tuple(mail for mail in self._mails if to.lower() in (address.lower() for address in mail.to))

    def get(self, mail_id: str) -> Mail | None:
        """One mail."""
        return next((mail for mail in self._mails if mail.id == mail_id), None)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep a mail; called by aiosmtpd."""
        number = int(self._mails[-1].id) + 1 if self._mails else 1
        recipients = "".join(f"{RECIPIENT_HEADER}: {address}\r\n" for address in envelope.rcpt_tos)
        path = self._folder / f"{number:06}.eml"
        path.write_bytes(recipients.encode() + (envelope.original_content or b""))
        self._mails.append(_read(path))
        return "250 OK"


def _read(path: Path) -> Mail:
    message = _parser.parsebytes(path.read_bytes())
    return Mail(
        id=path.stem,
        received_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        sender=str(message.get("From", "")),
        to=tuple(str(address) for address in message.get_all(RECIPIENT_HEADER, [])),
        subject=str(message.get("Subject", "")),
        message_id=str(message.get("Message-ID", "")),
        text=_body(message, "plain"),
        html=_body(message, "html"),
    )


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    return None if part is None else str(part.get_content()).replace("\r\n", "\n")
