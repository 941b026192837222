"""E-mail addresses: those of accounts, and those that mails may go to."""

from __future__ import annotations

import re
from typing import Final

MAX_EMAIL: Final = 254
"""Longest address that SMTP carries (RFC 5321, section 4.5.3.1.3, less its two brackets)."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL: Final = rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+"
"""As a regular expression, for a whole text."""
_EMAIL = re.compile(EMAIL)


def normal_email(text: str) -> str:
    """The form by which addresses are compared: mail systems tell no cases apart, whatever RFC 5321 says."""
    return text.strip().lower()


def is_email(text: str) -> bool:
    """Whether it is ``atoms.with.dots@host.with.dots`` in ASCII: RFC 5321's Dot-string and Domain, two labels or more.

    Quoted local parts, address literals and dot-less domains are none; international domains come as ``xn--``.
    """
    return len(text) <= MAX_EMAIL and _EMAIL.fullmatch(text) is not None
