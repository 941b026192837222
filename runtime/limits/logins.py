"""What each attempt to log in takes: whichever process asks, guesses at one account are counted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from domain.rate_limits import Limit
from runtime.limits.buckets import bucket_key

KNOWN_FOR: Final = 30 * 86_400
"""Seconds for which an account's owner is known by the address that they logged in from."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What to take: one of a limit, of somebody; or none where there is that exemption."""

    limit: Limit
    whose: Sequence[str]
    unless_exempt: bytes | None = None


def permits_of_login(email: str, here: str) -> Sequence[Permit]:
    """The account is not guessed at: neither from one address, nor from many together.

    Those many do not lock its owner out, who is not counted where they have logged in lately.

    Args:
        email: the account that is tried.
        here: whom the attempt counts for, see `runtime.client_address.subscriber`.
    """
    account = account_of(email)
    return (
        Permit(Limit.LOGINS_HERE, (account, here)),
        Permit(Limit.LOGINS_ELSEWHERE, (account,), unless_exempt=owner_key(email, here)),
    )


def owner_key(email: str, here: str) -> bytes:
    """The exemption of whoever has logged in from there."""
    return bucket_key(Limit.LOGINS_ELSEWHERE, account_of(email), here)


def account_of(email: str) -> str:
    """What is counted for an address, in whatever case it is written."""
    return email.strip().lower()
