"""What no call of Stripe's API does, over HTTP under ``/_sandbox``; `StripeAccount` has the same as methods.

``POST /_sandbox/faults`` makes webhooks and calls go wrong, see `faults`; ``GET`` shows the faults that are on.

``POST /_sandbox/clock`` with ``{"advance": seconds}`` moves the account's clock; what is due by then has happened when
it answers, but for webhooks, which are under way. ``GET`` shows the time, unix seconds.

``POST /_sandbox/payment_intents/{id}/authenticate`` with ``{"outcome": "succeed" | "fail"}`` does what the customer
does at their bank; ``GET`` is the bank's page, whose form does the same.

``POST /_sandbox/payment_intents/{id}/settle`` with ``{"outcome": "succeed" | "fail", "failure_code": …}`` ends a
payment that is processing, as the bank does. Those of Stripe's test bank accounts (`rules.tokens`) also end by
themselves, a few seconds after their confirmation by the account's clock; ``pm_usBankAccount_processing`` never does.

``POST /_sandbox/refunds/{id}`` with ``{"status": "succeeded" | "failed" | "canceled" | "requires_action" | "pending",
"failure_reason": …}`` moves a refund on at once. It works on every card's refund. Those of two of Stripe's test cards
(https://docs.stripe.com/testing#refunds) also change by themselves, once, a few seconds after they were made by the
account's clock: ``pm_card_pendingRefund`` from pending to succeeded, ``pm_card_refundFail`` from succeeded to failed. A
switch takes the place of that change, which is stored like all else.

A refund made in the dashboard is ``POST /v1/refunds`` with the secret key and without metadata: the account has no
other way to distinguish the two.

``POST /_sandbox/charges/{id}/dispute`` disputes a charge that succeeded and was not disputed before. The body may be
empty, or hold ``status`` (``needs_response``, a chargeback, or ``warning_needs_response``, an inquiry), ``reason`` and
``amount``. What the cards ``pm_card_createDispute``, ``pm_card_createDisputeProductNotReceived`` and
``pm_card_createDisputeInquiry`` paid is disputed at once (https://docs.stripe.com/testing#disputes).
``POST /_sandbox/disputes/{id}`` with ``{"status": "under_review" | "won" | "lost"}`` moves a chargeback on, with
``{"status": "warning_under_review" | "warning_closed" | "needs_response"}`` an inquiry, the last to a chargeback.

A body that does not fit, and a change that an object's status forbids, is answered 400 in Stripe's form, an object that
does not exist 404.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, get, post
from litestar.types import ControllerRouterHandler

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.disputes import DisputeReason, DisputeStatus
from sandbox.stripe.errors import mismatch
from sandbox.stripe.faults import Faults
from sandbox.stripe.http import bank_page
from sandbox.stripe.objects import RefundFailure, RefundStatus
from sandbox.stripe.rules.intents import Authentication
from sandbox.stripe.rules.tokens import DebitFailureCode

AnyRequest = Request[Any, Any, Any]
Body = TypeVar("Body", bound=msgspec.Struct)


class ClockChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By how many seconds to move the clock."""

    advance: Annotated[float, msgspec.Meta(ge=0)]


class AuthenticationEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the customer's authentication ends."""

    outcome: Authentication


class Settlement(StrEnum):
    """Whether the money arrives."""

    SUCCEED = "succeed"
    FAIL = "fail"


class PaymentEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a payment that is processing ends."""

    outcome: Settlement
    failure_code: DebitFailureCode | None = None


class RefundChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of a refund."""

    status: RefundStatus
    failure_reason: RefundFailure | None = None


class DisputeOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a charge is disputed; by default as fraudulent, for what was not refunded of it."""

    status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE
    reason: DisputeReason = DisputeReason.FRAUDULENT
    amount: Annotated[int, msgspec.Meta(ge=1)] | None = None


class DisputeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of a dispute."""

    status: DisputeStatus


def switches(account: StripeAccount) -> list[ControllerRouterHandler]:
    """The routes."""
    return [*_account_switches(account), *_bank_page(account), *_object_switches(account)]


def _account_switches(account: StripeAccount) -> list[ControllerRouterHandler]:
    @get("/_sandbox/faults")
    async def show_faults() -> Response[bytes]:
        return _json(account.faults.current)

    @post("/_sandbox/faults", status_code=200)
    async def set_faults(request: AnyRequest) -> Response[bytes]:
        account.faults.set(await _read(request, Faults))
        return _json(account.faults.current)

    @get("/_sandbox/clock")
    async def show_clock() -> Response[bytes]:
        return _json({"now": account.clock.now()})

    @post("/_sandbox/clock", status_code=200)
    async def advance_clock(request: AnyRequest) -> Response[bytes]:
        account.clock.advance((await _read(request, ClockChange)).advance)
        return _json({"now": account.clock.now()})

    return [show_faults, set_faults, show_clock, advance_clock]


def _bank_page(account: StripeAccount) -> list[ControllerRouterHandler]:
    path = "/_sandbox/payment_intents/{id:str}/authenticate"

    @get(path, media_type="text/html")
    async def authentication_page(request: AnyRequest) -> str:
        return bank_page.render(account, request.path_params["id"])

    @post(path, status_code=200)
    async def authenticate(request: AnyRequest) -> Response[bytes]:
        intent_id = request.path_params["id"]
        if request.content_type[0] != "application/x-www-form-urlencoded":
            end = await _read(request, AuthenticationEnd)
            return _json(account.authenticate(intent_id, end.outcome))
        url = bank_page.submit(account, intent_id, await request.body())
        if url is None:
            return Response(b"Done. You can close this page.", media_type="text/plain")
        return Response(b"", status_code=303, headers={"Location": url})

    return [authentication_page, authenticate]


def _object_switches(account: StripeAccount) -> list[ControllerRouterHandler]:
    @post("/_sandbox/payment_intents/{id:str}/settle", status_code=200)
    async def settle(request: AnyRequest) -> Response[bytes]:
        end = await _read(request, PaymentEnd)
        intent_id = request.path_params["id"]
        if end.outcome is Settlement.SUCCEED:
            return _json(account.settle(intent_id))
        return _json(account.fail(intent_id, end.failure_code))

    @post("/_sandbox/refunds/{id:str}", status_code=200)
    async def change_refund(request: AnyRequest) -> Response[bytes]:
        change = await _read(request, RefundChange)
        return _json(account.change_refund(request.path_params["id"], change.status, failure=change.failure_reason))

    @post("/_sandbox/charges/{id:str}/dispute", status_code=200)
    async def open_dispute(request: AnyRequest) -> Response[bytes]:
        how = await _read(request, DisputeOpening)
        charge_id = request.path_params["id"]
        return _json(account.open_dispute(charge_id, status=how.status, reason=how.reason, amount=how.amount))

    @post("/_sandbox/disputes/{id:str}", status_code=200)
    async def change_dispute(request: AnyRequest) -> Response[bytes]:
        change = await _read(request, DisputeChange)
        return _json(account.change_dispute(request.path_params["id"], change.status))

    return [settle, change_refund, open_dispute, change_dispute]


async def _read(request: AnyRequest, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise mismatch(str(error)) from None


def _json(body: object) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type="application/json")
