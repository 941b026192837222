"""What the SMTP sink and the Twilio double have received, in memory and as files: .eml for mails, .json for SMS."""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from uuid import uuid4

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

from domain.notifications import Channel
from sandbox.files import write_private

RECIPIENT_HEADER = "X-Envelope-To"
"""Added to each stored mail: the envelope's recipients, who are not always those of the To header."""

_parser = BytesParser(_class=EmailMessage, policy=email.policy.default)


class Message(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A received mail or SMS.

    Attributes:
        to: the envelope's recipients, or the one telephone number.
        subject: empty for an SMS.
        message_id: a mail's Message-ID, an SMS's Twilio SID.
        text: a mail's plain text body, or None; an SMS's text.
        html: a mail's HTML body, or None.
    """

    id: str
    channel: Channel
    received_at: datetime
    sender: str
    to: tuple[str, ...]
    subject: str
    message_id: str
    text: str | None
    html: str | None


class Mailbox:
    """All received messages, oldest first, those of earlier runs included. A mail is parsed when somebody reads it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = {path.stem: path for path in sorted(folder.glob("*.*")) if path.suffix in (".eml", ".json")}
        self._read: dict[str, Message] = {}

    def all(self, *, to: str | None = None) -> Sequence[Message]:
        """The messages, or those to one address or number."""
        messages = tuple(self._message(message_id) for message_id in self._paths)
        if to is None:
            return messages
        return tuple(each for each in messages if to.lower() in (address.lower() for address in each.to))

    def get(self, message_id: str) -> Message | None:
        """One message."""
        return self._message(message_id) if message_id in self._paths else None

    def add_sms(self, *, sender: str, to: str, text: str) -> Message:
        """Store an SMS."""
        message = Message(
            id=self._next_id(),
            channel=Channel.SMS,
            received_at=datetime.now(UTC),
            sender=sender,
            to=(to,),
            subject="",
            message_id=f"SM{uuid4().hex}",
            text=text,
            html=None,
        )
        path = self._folder / f"{message.id}.json"
        write_private(path, msgspec.json.encode(message).decode())
        self._paths[message.id] = path
        return message

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Store a mail; called by aiosmtpd."""
        recipients = "".join(f"{RECIPIENT_HEADER}: {address}\r\n" for address in envelope.rcpt_tos)
        path = self._folder / f"{self._next_id()}.eml"
        path.write_bytes(recipients.encode() + (envelope.original_content or b""))
        self._paths[path.stem] = path
        return "250 OK"

    def _next_id(self) -> str:
        return f"{int(next(reversed(self._paths), '0')) + 1:06}"

    def _message(self, message_id: str) -> Message:
        if message_id not in self._read:
            self._read[message_id] = _read(self._paths[message_id])
        return self._read[message_id]


def _read(path: Path) -> Message:
    if path.suffix == ".json":
        return msgspec.json.decode(path.read_bytes(), type=Message)
    message = _parser.parsebytes(path.read_bytes())
    return Message(
        id=path.stem,
        channel=Channel.EMAIL,
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
