"""Links, and the tokens that open them."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.users import LinkPurpose

_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkToken:
    """What a mail's link carries: which link it is, and 256 random bits of which the table has the hash."""

    link_id: str
    secret: bytes

    @classmethod
    def new(cls, link_id: str) -> LinkToken:
        """Another token of a link."""
        return cls(link_id=link_id, secret=secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> LinkToken | None:
        """The token that the text is; None for what is none."""
        try:
            raw = urlsafe_b64decode(text)
        except ValueError:
            return None
        if len(raw) != _ID_BYTES + _SECRET_BYTES:
            return None
        return cls(link_id=str(UUID(bytes=raw[:_ID_BYTES])), secret=raw[_ID_BYTES:])

    @property
    def text(self) -> str:
        """The token as a mail has it: 64 characters that need no quoting in a URL."""
        return urlsafe_b64encode(UUID(self.link_id).bytes + self.secret).decode()

    @property
    def hash(self) -> bytes:
        """What is stored of it."""
        return hashlib.sha256(self.secret).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link whose token somebody has.

    Attributes:
        email: where it was mailed to.
        expired: whether its time is over.
        used: whether it was used, or something happened after which it is not to be.
    """

    id: str
    user_id: str
    purpose: LinkPurpose
    email: str
    expired: bool
    used: bool

    @property
    def is_good(self) -> bool:
        """Whether it may be used."""
        return not self.expired and not self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedLink:
    """A link for the mail that is being written."""

    email: str
    name: str
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedEmail:
    """The address that an account had, and its holder's name."""

    email: str
    name: str
