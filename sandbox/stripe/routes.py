"""The part of Stripe's API that this double has, as a table (https://docs.stripe.com/api)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.stripe import commands
from sandbox.stripe.calls import Route
from sandbox.stripe.disputes import Dispute
from sandbox.stripe.events import Event
from sandbox.stripe.faults import Operation
from sandbox.stripe.objects import Charge, Intent, Refund, Resource
from sandbox.stripe.params import Params


def _retrieving(operation: Operation, path: str, kind: type[Resource]) -> Route:
    return Route(
        operation=operation,
        method="GET",
        path=path,
        kind=kind,
        parse=commands.retrieve_intent if kind is Intent else commands.retrieve,
        execute=lambda ledger, target, command, cause: ledger.retrieve(kind, target, command),
    )


def _listing(operation: Operation, path: str, kind: type[Resource], parse: Callable[[Params], Any]) -> Route:
    return Route(
        operation=operation,
        method="GET",
        path=path,
        kind=kind,
        parse=parse,
        execute=lambda ledger, target, command, cause: ledger.page(kind, command),
    )


_ROUTES = (
    Route(
        operation=Operation.INTENT_CREATE,
        method="POST",
        path="/v1/payment_intents",
        kind=Intent,
        parse=commands.create_intent,
        execute=lambda ledger, target, command, cause: ledger.create_intent(command, cause),
    ),
    Route(
        operation=Operation.INTENT_CONFIRM,
        method="POST",
        path="/v1/payment_intents/{id}/confirm",
        kind=Intent,
        parse=commands.confirm_intent,
        execute=lambda ledger, target, command, cause: ledger.confirm_intent(target, command, cause),
    ),
    Route(
        operation=Operation.INTENT_CANCEL,
        method="POST",
        path="/v1/payment_intents/{id}/cancel",
        kind=Intent,
        parse=commands.cancel_intent,
        execute=lambda ledger, target, command, cause: ledger.cancel_intent(target, command, cause),
    ),
    Route(
        operation=Operation.REFUND_CREATE,
        method="POST",
        path="/v1/refunds",
        kind=Refund,
        parse=commands.create_refund,
        execute=lambda ledger, target, command, cause: ledger.create_refund(command, cause),
    ),
    Route(
        operation=Operation.REFUND_CANCEL,
        method="POST",
        path="/v1/refunds/{id}/cancel",
        kind=Refund,
        parse=commands.cancel_refund,
        execute=lambda ledger, target, command, cause: ledger.cancel_refund(target, cause),
    ),
    _retrieving(Operation.INTENT_RETRIEVE, "/v1/payment_intents/{id}", Intent),
    _retrieving(Operation.CHARGE_RETRIEVE, "/v1/charges/{id}", Charge),
    _retrieving(Operation.REFUND_RETRIEVE, "/v1/refunds/{id}", Refund),
    _retrieving(Operation.DISPUTE_RETRIEVE, "/v1/disputes/{id}", Dispute),
    _retrieving(Operation.EVENT_RETRIEVE, "/v1/events/{id}", Event),
    _listing(Operation.INTENT_LIST, "/v1/payment_intents", Intent, commands.list_intents),
    _listing(Operation.CHARGE_LIST, "/v1/charges", Charge, commands.list_charges),
    _listing(Operation.REFUND_LIST, "/v1/refunds", Refund, commands.list_of_charge),
    _listing(Operation.DISPUTE_LIST, "/v1/disputes", Dispute, commands.list_of_charge),
    _listing(Operation.EVENT_LIST, "/v1/events", Event, commands.list_events),
)

_BY_CALL = {(route.method, route.path): route for route in _ROUTES}


def find_route(method: str, path: str) -> tuple[Route, str] | None:
    """The call that a request is meant for, and the id in its path (empty when there is none)."""
    parts = path.split("/")
    target = ""
    if len(parts) > 3:
        target, parts[3] = parts[3], "{id}"
    route = _BY_CALL.get((method, "/".join(parts)))
    return None if route is None else (route, target)
