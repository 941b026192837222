"""What an account may be made of."""

from __future__ import annotations

from domain.emails import MAX_EMAIL
from domain.limits import MAX_PASSWORD, MAX_REFRESH_TOKEN, MAX_USER_NAME, MIN_PASSWORD
from runtime.validation import Violations
from services.user.common_passwords import is_common
from services.user.passwords import normalised


def check_account(*, email: str, password: str, name: str) -> None:
    """Check what a new account is made of.

    What an e-mail address is, `domain.emails` says, what a line, `domain.texts`. A name is a line without a link.

    Raises:
        InvalidArgument: naming each field that breaks a rule.
    """
    with Violations() as violations:
        violations.check_email("email", email)
        check_password(violations, "password", password)
        violations.check_name("name", name, longest=MAX_USER_NAME)


def check_password(violations: Violations, field: str, password: str) -> None:
    """A password for an account: long enough in the form that is hashed, and not among those that are tried first."""
    violations.check_text(field, password, longest=MAX_PASSWORD)
    hashed = normalised(password)
    violations.check_text(field, hashed, shortest=MIN_PASSWORD, longest=MAX_PASSWORD)
    if is_common(hashed):
        violations.add(field, "is one of the 10,000 commonest passwords; choose one that nobody else thinks of")


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
