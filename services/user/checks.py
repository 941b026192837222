"""What an account may be made of."""

from __future__ import annotations

from domain.emails import MAX_EMAIL, is_email
from domain.limits import MAX_PASSWORD, MAX_REFRESH_TOKEN, MAX_USER_NAME, MIN_PASSWORD
from domain.names import holds_address
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
        check_email(violations, "email", email)
        check_password(violations, "password", password)
        _check_name(violations, name)


def check_email(violations: Violations, field: str, email: str) -> None:
    """An address that mails can go to."""
    violations.check_text(field, email, longest=MAX_EMAIL)
    if not is_email(email):
        violations.add(field, "must be an e-mail address, for example customer@example.test")


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


def _check_name(violations: Violations, name: str) -> None:
    violations.check_plain_line("name", name, longest=MAX_USER_NAME)
    if holds_address(name):
        violations.add("name", "must hold no web or e-mail address; put a space behind a full stop")
