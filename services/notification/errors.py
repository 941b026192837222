"""Why a mail does not get out. No message holds an address: SMTP servers like to quote them."""

from __future__ import annotations

from domain.refusals import Refusal


class MailDelayed(Exception):
    """It did not work now; later it may."""


class MailRefused(Exception):
    """It will never work."""


class RecipientUnknown(MailRefused):
    """The user service has no address to give."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
