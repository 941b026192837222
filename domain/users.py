"""Users: what an account may do."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What the holder of an account may do."""

    CUSTOMER = "customer"
    SUPPORT = "support"
    """Reads everybody's orders and accounts, cancels, and refunds up to a limit."""
    ADMIN = "admin"


class LinkPurpose(StrEnum):
    """What a one-time link that is mailed lets its reader do."""

    CONFIRM_EMAIL = "confirm-email"
    RESET_PASSWORD = "reset-password"  # noqa: S105  # a purpose, no password
    CHANGE_EMAIL = "change-email"
