"""The page of the customer's bank, where a payment that requires action is authenticated or refused."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.errors import invalid
from sandbox.stripe.objects import Intent
from sandbox.stripe.rules.currencies import display
from sandbox.stripe.rules.intents import Authentication

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


def render(account: StripeAccount, intent_id: str) -> str:
    """The HTML page with the customer's choice.

    Raises:
        ApiError: 404 when there is no such intent.
    """
    intent = account.get(Intent, intent_id)
    return _PAGE.format(amount=escape(display(intent.amount, intent.currency)))


def submit(account: StripeAccount, intent_id: str, form: bytes) -> str | None:
    """End the authentication as ``outcome=succeed`` or ``outcome=fail`` says; where the customer's browser goes then.

    Raises:
        ApiError: 400 when the form says something else, and as `StripeAccount.authenticate`.
    """
    outcome = _read(form)
    action = account.get(Intent, intent_id).next_action
    intent = account.authenticate(intent_id, outcome)
    if action is None or action.redirect_to_url is None:
        return None
    added = {
        "payment_intent": intent.id,
        "payment_intent_client_secret": intent.client_secret,
        "redirect_status": "succeeded" if outcome is Authentication.SUCCEED else "failed",
    }
    scheme, host, path, query, fragment = urlsplit(action.redirect_to_url.return_url)
    return urlunsplit((scheme, host, path, "&".join(filter(None, (query, urlencode(added)))), fragment))


def _read(form: bytes) -> Authentication:
    try:
        return Authentication(parse_qs(form.decode())["outcome"][0])
    except (KeyError, ValueError):
        raise invalid("Expected outcome=succeed or outcome=fail", param="outcome") from None
