"""What each problem means, and what mends it: the text of docs/problems.md and of /docs/problems."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from api import problems
from api.problems import Kind
from runtime.http_limits import Rejection, problem_urn


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A kind of problem, explained.

    Attributes:
        name: the last part of its URN.
        meaning: what happened.
        remedy: what whoever sees it can do.
    """

    name: str
    status: int
    title: str
    meaning: str
    remedy: str

    @property
    def urn(self) -> str:
        """The problem's `type`."""
        return problem_urn(self.name)


class MissingPage(Exception):
    """A kind of problem has no text here; the message names it."""


def pages() -> list[Page]:
    """All of them, by status.

    Raises:
        MissingPage: a kind has no text.
    """
    found = {name: _page(name, status, title) for name, status, title in _kinds()}
    return sorted(found.values(), key=lambda page: (page.status, page.name))


def to_markdown() -> str:
    """docs/problems.md."""
    parts = [_HEAD]
    for page in pages():
        parts.append(f"## {page.name}\n\n`{page.urn}` · {page.status} · *{page.title}*\n\n{page.meaning}")
        parts.append(f"**What to do:** {page.remedy}")
    return "\n\n".join(parts) + "\n"


def _kinds() -> Iterator[tuple[str, int, str]]:
    """Name, status and title of everything that the gateway answers with; a rejection may share a kind's name."""
    for rejection in Rejection:
        yield rejection.problem_name, rejection.status.value, rejection.title
    for kind in vars(problems).values():
        if isinstance(kind, Kind):
            yield kind.name, kind.status, kind.title


def _page(name: str, status: int, title: str) -> Page:
    text = TEXTS.get(name)
    if text is None:
        raise MissingPage(f"{name} has no text in api/pages/problems.py")
    meaning, remedy = text
    return Page(name=name, status=status, title=title, meaning=meaning, remedy=remedy)


_HEAD: Final = """# Problems

Made by `make problems`. Every error is a problem (RFC 9457), `application/problem+json`. Its `type` never changes its
meaning; titles and details are for people and may. A problem of 400 names each faulty field in `errors`. Each answer
has an `X-Request-Id`, which our log has as well."""

_ANOTHER_APPROVES: Final = (
    "Have another admin approve it with `POST /v1/orders/{order_id}/refund-approvals`, or an operator with `ordersaga"
    " approve-refund ORDER AMOUNT`. Then send the request again with the same `Idempotency-Key`."
)

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "bad-request": (
        "The request is no HTTP/1.1, or broke off, or is something that no route takes.",
        "Send it by an HTTP library; `detail` says what was wrong where that is known.",
    ),
    "validation": (
        "The request does not fit its description. Nothing was changed.",
        "Mend the fields that `errors` names: each has a path such as `lines[3].quantity`, and what it must be.",
    ),
    "malformed-json": (
        "The body is not JSON, is empty, or is nested too deeply.",
        "Send one JSON value in UTF-8; `detail` says where reading ended.",
    ),
    "idempotency-key-missing": (
        "The operation takes effect once per `Idempotency-Key`, and none was sent.",
        "Choose a new key, such as a UUID, for each thing that is to happen once; send the same one with each repeat.",
    ),
    "bad-webhook-signature": (
        "The `Stripe-Signature` does not fit the body, or is too old.",
        "Use the signing secret of this endpoint, pass the body on untouched, and see that the clocks agree.",
    ),
    "bad-webhook-body": (
        "The signature holds, and the body is no event of Stripe's.",
        "Send Stripe's own body, untouched.",
    ),
    "link-not-valid": (
        "The link was used, is too old, or is none of ours; or what it was for was done otherwise since.",
        "Ask for another mail.",
    ),
    "missing-token": (
        "The operation is for those who are logged in, and there was no access token.",
        "Send `Authorization: Bearer <access token>`, from `POST /v1/auth/token`.",
    ),
    "invalid-token": (
        "The access token was not made by this shop, or was changed on its way.",
        "Log in again.",
    ),
    "expired-token": (
        "The access token was valid, and is too old.",
        "Trade the refresh token for a new one at `POST /v1/auth/refresh`, and send the request again.",
    ),
    "bad-credentials": (
        "There is no account with this e-mail and this password; which of the two is wrong is not said.",
        "Let the person type them again. Repeats are limited.",
    ),
    "invalid-refresh-token": (
        "The refresh token is none of ours, or was revoked, for example by a logout.",
        "Log in again.",
    ),
    "expired-refresh-token": (
        "The refresh token was not used in time.",
        "Log in again.",
    ),
    "refresh-token-reused": (
        "The refresh token was used before, by you or by somebody who stole it. All tokens of its login are revoked.",
        "Log in again. Keep the newest refresh token, and refresh from one place at a time.",
    ),
    "forbidden": (
        "The token is valid, and its role is not allowed to do this.",
        "Use the account of somebody who is.",
    ),
    "back-end-only": (
        "For whom an order is, its shipping cost and its discounts are the shop's to say, and never its customer's.",
        "Leave out the fields that `errors` names, or have the shop's back end place the order as an admin.",
    ),
    "account-disabled": (
        "The password is right, and an admin has disabled the account.",
        "Ask the shop.",
    ),
    "refund-needs-admin": (
        "Support may give back so much of an order, and this would be more.",
        "Have an admin make the refund, or refund less.",
    ),
    "refund-needs-approval": (
        "One person alone may give back so much of an order, in all its refunds, and this would be more.",
        _ANOTHER_APPROVES,
    ),
    "not-found": (
        "There is no such thing, or it is somebody else's; the two answer alike.",
        "Check the path and the id, and whose token it is.",
    ),
    "method-not-allowed": (
        "The path exists, and this method does not exist there.",
        "Use one that `Allow` names.",
    ),
    "request-timeout": (
        "The request's head or body took too long to arrive. Nothing was done.",
        "Send it again over a better connection.",
    ),
    "email-taken": (
        "An account has this e-mail address already, in whatever case it was written.",
        "Log in, or sign up with another address.",
    ),
    "last-admin": (
        "Nobody would be left who may administer the shop. Nothing was changed.",
        "Make somebody else an admin first.",
    ),
    "guest-checkout-off": (
        "The shop takes no orders without an account. Nothing was ordered.",
        "Open an account, or log in, and order there. Who runs the shop: `ORDERSAGA_GUEST_CHECKOUT` lets guests order.",
    ),
    "order-still-open": (
        "Name and address of an order are needed until it has ended. Nothing was erased.",
        "Cancel the order, or wait until it is paid or has expired.",
    ),
    "order-has-no-guest": (
        "The order was placed by an account, or an account has adopted it. Nothing was erased.",
        "Erase the account.",
    ),
    "order-not-cancellable": (
        "The order has failed, or was paid; it stays as it is.",
        "Read the order. A paid one can be refunded, by the shop.",
    ),
    "too-many-open-orders": (
        "The customer has as many orders that wait to be paid as they may have. Nothing was ordered.",
        "Have one of them paid or cancelled first, or wait until it has expired.",
    ),
    "too-many-held-units": (
        "The customer's orders that wait to be paid would hold more units than they may. Nothing was ordered.",
        "Order fewer units, or have one of the open orders paid or cancelled first.",
    ),
    "payment-window-too-long": (
        "The order would wait for its payment for longer than this shop lets any order wait.",
        "Ask for `payment_window_seconds` up to the limit that `detail` names, or leave it out.",
    ),
    "order-not-refundable": (
        "Nothing of the order was paid, or nothing is left to give back.",
        "Read the order and its refunds.",
    ),
    "refund-exceeds-payment": (
        "Less is left of what was paid than the refund asks for.",
        "Read the order's refunds, and ask for no more than the rest, or leave `amount` out for all of it.",
    ),
    "refund-needs-no-approval": (
        "So much of the order can be given back by one person alone, or no refund needs a second one in this shop.",
        "Ask for the refund.",
    ),
    "restock-exceeds-order": (
        "Fewer units of the order are left to be put back than the refund says.",
        "Read the order's refunds, and put back no more than the rest.",
    ),
    "payment-disputed": (
        "The customer's bank decides about the money; it is not refunded twice.",
        "Wait for the dispute's end.",
    ),
    "idempotency-key-in-use": (
        "The first request with this key is being answered still, for longer than this one wanted to wait.",
        "Send it again a little later with the same key, or with a longer `Prefer: wait=N`.",
    ),
    "out-of-stock": (
        "There is less of it than the request asks for.",
        "Ask for less, or later.",
    ),
    "stale-version": (
        "Somebody has changed it since it was read: `If-Match` names another version than there is.",
        "Read it again, make the change again, and send the new `ETag`. One that begins with `W/` never fits.",
    ),
    "content-too-large": (
        "The body is larger than any request of this API has to be.",
        "Send less at a time.",
    ),
    "unsupported-media-type": (
        "The body does not say that it is JSON.",
        "Send `Content-Type: application/json`.",
    ),
    "idempotency-key-reused": (
        "The key stands for another request, which was sent before. Nothing was done.",
        "Choose a new key for a new request; send the same body with each repeat.",
    ),
    "too-many-requests": (
        "This address or this account asks more often than it may; `r=0` in `RateLimit` says of which limit.",
        "Wait for as many seconds as `Retry-After` says, and send the request again: nothing of it was done.",
    ),
    "too-many-streams": (
        "This account follows as many orders at once as it may at this gateway.",
        "Close a stream that is not looked at any more, or read the order from time to time.",
    ),
    "too-many-mails": (
        "This account was sent as many mails of this kind as it may be within the hour.",
        "Look for the mail that was sent, also among spam, or ask again in an hour.",
    ),
    "head-too-large": (
        "The request line and the headers are larger than allowed.",
        "Send fewer or shorter headers; most often it is cookies, which are of no use here.",
    ),
    "too-many-headers": (
        "The request has more headers than allowed.",
        "Send fewer.",
    ),
    "internal": (
        "Something broke on our side. Whether the request took effect is not known.",
        "Send it again with the same `Idempotency-Key`. If it stays so, tell us the `X-Request-Id`.",
    ),
    "sms-not-configured": (
        "No SMS can be sent from this installation.",
        "Send a mail, or have an account for SMS set up.",
    ),
    "busy": (
        "More is asked for at this moment than can be done in time. Nothing of the request was begun.",
        "Send it again after `Retry-After` seconds, with the same `Idempotency-Key`. What was accepted before goes on.",
    ),
    "service-unavailable": (
        "A part of the shop does not answer. Whether the request took effect is not known.",
        "Send it again, after `Retry-After` seconds and with the same `Idempotency-Key`: it takes effect once.",
    ),
    "too-many-connections": (
        "More connections are open than the server takes.",
        "Try again a little later; keep connections open and use them again.",
    ),
}
"""By the last part of the `type`: what happened, and what to do."""


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
