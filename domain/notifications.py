"""Notifications: how they reach people, what becomes of them, and what they may hold."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

MAX_EMAIL: Final = 254
"""Longest address that SMTP carries (RFC 5321, section 4.5.3.1.3, less its two brackets)."""
MAX_SUBJECT: Final = 200
MAX_BODY: Final = 20_000
MAX_SMS: Final = 1_600
"""Longest text that Twilio takes in one message, characters."""
MAX_PHONE: Final = 16

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")
_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
_LINE_BREAK = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class Channel(StrEnum):
    """How a notification travels."""

    EMAIL = "email"
    SMS = "sms"


class NotificationStatus(StrEnum):
    """What became of a notification. Only PENDING moves."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


def is_email(text: str) -> bool:
    """Whether it is ``atoms.with.dots@host.with.dots`` in ASCII: RFC 5321's Dot-string and Domain of two labels."""
    return len(text) <= MAX_EMAIL and _EMAIL.fullmatch(text) is not None


def is_phone(text: str) -> bool:
    """Whether it is a telephone number in ITU-T E.164's international form: +, country code, 15 digits at most."""
    return _PHONE.fullmatch(text) is not None


def is_one_line(text: str) -> bool:
    """Whether it holds neither line breaks nor other control characters."""
    return _LINE_BREAK.search(text) is None
