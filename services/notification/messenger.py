"""The port that messages leave by, whatever they travel over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Whom a message goes to: known only while it is sent. `address` is an e-mail address or a telephone number."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent to somebody.

    Attributes:
        id: the same each time this message is sent.
        subject: empty where the channel has none.
        text: plain text.
        html: the same for those who like it better, or None.
    """

    id: str
    recipient: Recipient
    subject: str
    text: str
    html: str | None


class Messenger(Protocol):
    """Sends messages over one channel."""

    async def send(self, message: Message) -> None:
        """Hand a message over; the other side has taken responsibility for it when this returns.

        A repeat after an answer that was lost is sent again.

        Raises:
            MessageRefused: it will never be taken.
            MessageDelayed: it was not taken now; later it may be.
        """
