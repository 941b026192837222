"""The page of the customer's bank, where a payment that requires action is authenticated or refused."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import msgspec

from sandbox.stripe.currencies import display
from sandbox.stripe.errors import invalid
from sandbox.stripe.events import EventRequest
from sandbox.stripe.ledger import Ledger
from sandbox.stripe.objects import Intent, new_id
from sandbox.stripe.rules import Authentication
from sandbox.stripe.store import Store

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Test bank</title>
<h1>Test bank</h1>
<p>Payment of {amount}</p>
<form method="post">
<button name="outcome" value="succeed">Complete authentication</button>
<button name="outcome" value="fail">Fail authentication</button>
</form>
</html>
"""


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    outcome: Authentication


class Bank:
    """Authenticates payments as their customer does; `owed` is called when events may wait for delivery."""

    def __init__(self, store: Store, ledger: Ledger, owed: Callable[[], None]) -> None:
        self._store = store
        self._ledger = ledger
        self._owed = owed

    def page(self, intent_id: str) -> str:
        """The HTML page with the customer's choice.

        Raises:
            ApiError: 404 when there is no such intent.
        """
        intent = self._ledger.intent(intent_id)
        return _PAGE.format(amount=escape(display(intent.amount, intent.currency)))

    def authenticate(self, intent_id: str, outcome: Authentication) -> Intent:
        """End the authentication that an intent waits for.

        Raises:
            ApiError: 404 when there is no such intent, 400 when it waits for nothing.
        """
        cause = EventRequest(id=new_id("req", size=14), idempotency_key=None)
        with self._store.transaction():
            self._ledger.authenticate_intent(intent_id, outcome, cause)
        self._owed()
        return self._ledger.intent(intent_id)

    def return_url(self, intent_id: str, outcome: Authentication) -> str | None:
        """End the authentication; where the customer's browser goes then, if the shop said so.

        Raises:
            ApiError: as `authenticate`.
        """
        action = self._ledger.intent(intent_id).next_action
        intent = self.authenticate(intent_id, outcome)
        if action is None or action.redirect_to_url is None:
            return None
        status = "succeeded" if outcome is Authentication.SUCCEED else "failed"
        told = {
            "payment_intent": intent.id,
            "payment_intent_client_secret": intent.client_secret,
            "redirect_status": status,
        }
        scheme, host, path, query, fragment = urlsplit(action.redirect_to_url.return_url)
        return urlunsplit((scheme, host, path, "&".join(filter(None, (query, urlencode(told)))), fragment))


def outcome_of_json(body: bytes) -> Authentication:
    """Read ``{"outcome": "succeed" | "fail"}``; raises ApiError (400) when it is something else."""
    try:
        return msgspec.json.decode(body, type=_Wish).outcome
    except msgspec.DecodeError as error:
        raise invalid(str(error), param="outcome") from None


def outcome_of_form(body: bytes) -> Authentication:
    """Read ``outcome=succeed`` or ``outcome=fail``; raises ApiError (400) when it is something else."""
    try:
        return Authentication(parse_qs(body.decode())["outcome"][0])
    except (KeyError, ValueError):
        raise invalid("Expected outcome=succeed or outcome=fail", param="outcome") from None
