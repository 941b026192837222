"""Notifications: how they reach people, what becomes of them, and what they may hold."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

MAX_SUBJECT: Final = 200
MAX_BODY: Final = 20_000
MAX_SMS: Final = 1_600
"""Longest text that Twilio takes in one message, characters."""
MAX_PHONE: Final = 16

_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")


class Channel(StrEnum):
    """How a notification travels."""

    EMAIL = "email"
    SMS = "sms"


class NotificationStatus(StrEnum):
    """What became of a notification. Only PENDING moves, unless a person lets a mail that FAILED be tried again."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


def is_phone(text: str) -> bool:
    """Whether it is a telephone number in ITU-T E.164's international form: +, country code, 15 digits at most."""
    return _PHONE.fullmatch(text) is not None
