"""What an account may be made of."""

from __future__ import annotations

import unicodedata
from typing import Final

from domain.emails import MAX_EMAIL, is_email
from domain.limits import MAX_PASSWORD, MAX_REFRESH_TOKEN, MAX_USER_NAME, MIN_PASSWORD
from runtime.validation import Violations

_LINE_BREAKERS: Final = frozenset({"Cc", "Zl", "Zp"})


def check_account(*, email: str, password: str, name: str) -> None:
    """Check what a new account is made of.

    What an e-mail address is, `domain.emails` says. A name is one line that is not blank.

    Raises:
        InvalidArgument: naming each field that breaks a rule.
    """
    with Violations() as violations:
        violations.check_text("email", email, longest=MAX_EMAIL)
        if not is_email(email):
            violations.add("email", "must be an e-mail address, for example customer@example.test")
        violations.check_text("password", password, shortest=MIN_PASSWORD, longest=MAX_PASSWORD)
        violations.check_text("name", name, longest=MAX_USER_NAME)
        if name.isspace() or any(unicodedata.category(letter) in _LINE_BREAKERS for letter in name):
            violations.add("name", "must be one line that is not blank")


def check_refresh_token(token: str) -> None:
    """Check only the size of a refresh token: whether it is one of ours, the table knows.

    Raises:
        InvalidArgument: naming the field.
    """
    with Violations() as violations:
        violations.check_text("refresh_token", token, longest=MAX_REFRESH_TOKEN)


def check_credentials(*, email: str, password: str) -> None:
    """Check what is compared with an account: only its size, so that the answer says nothing about accounts.

    Raises:
        InvalidArgument: naming each field that breaks a rule.
    """
    with Violations() as violations:
        violations.check_text("email", email, longest=MAX_EMAIL)
        violations.check_text("password", password, longest=MAX_PASSWORD)
