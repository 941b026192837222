"""The part of Stripe's API that this double has, as a table (https://docs.stripe.com/api)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.stripe.api import endpoint_parsing, parsing
from sandbox.stripe.api.calls import Route
from sandbox.stripe.api.params import Params
from sandbox.stripe.disputes import Dispute
from sandbox.stripe.endpoints import WebhookEndpoint
from sandbox.stripe.events import Event
from sandbox.stripe.faults import Operation
from sandbox.stripe.objects import Charge, Intent, Refund
from sandbox.stripe.resources import Resource


def _retrieving(operation: Operation, path: str, kind: type[Resource]) -> Route:
    return Route(
        operation=operation,
        method="GET",
        path=path,
        kind=kind,
        parse=parsing.retrieve_intent if kind is Intent else parsing.retrieve,
        execute=lambda ledger, target, command, cause: ledger.reader.retrieve(kind, target, command),
    )


def _listing(operation: Operation, path: str, kind: type[Resource], parse: Callable[[Params], Any]) -> Route:
    return Route(
        operation=operation,
        method="GET",
        path=path,
        kind=kind,
        parse=parse,
        execute=lambda ledger, target, command, cause: ledger.reader.page(kind, command),
    )


_ROUTES = (
    Route(
        operation=Operation.INTENT_CREATE,
        method="POST",
        path="/v1/payment_intents",
        kind=Intent,
        parse=parsing.create_intent,
        execute=lambda ledger, target, command, cause: ledger.intents.create(command, cause),
    ),
    Route(
        operation=Operation.INTENT_UPDATE,
        method="POST",
        path="/v1/payment_intents/{id}",
        kind=Intent,
        parse=parsing.update_intent,
        execute=lambda ledger, target, command, cause: ledger.intents.update(target, command, cause),
    ),
    Route(
        operation=Operation.INTENT_CAPTURE,
        method="POST",
        path="/v1/payment_intents/{id}/capture",
        kind=Intent,
        parse=parsing.capture_intent,
        execute=lambda ledger, target, command, cause: ledger.intents.capture(target, command, cause),
    ),
    Route(
        operation=Operation.INTENT_CONFIRM,
        method="POST",
        path="/v1/payment_intents/{id}/confirm",
        kind=Intent,
        parse=parsing.confirm_intent,
        execute=lambda ledger, target, command, cause: ledger.intents.confirm(target, command, cause),
    ),
    Route(
        operation=Operation.INTENT_CANCEL,
        method="POST",
        path="/v1/payment_intents/{id}/cancel",
        kind=Intent,
        parse=parsing.cancel_intent,
        execute=lambda ledger, target, command, cause: ledger.intents.cancel(target, command, cause),
    ),
    Route(
        operation=Operation.REFUND_CREATE,
        method="POST",
        path="/v1/refunds",
        kind=Refund,
        parse=parsing.create_refund,
        execute=lambda ledger, target, command, cause: ledger.refunds.create(command, cause),
    ),
    Route(
        operation=Operation.REFUND_CANCEL,
        method="POST",
        path="/v1/refunds/{id}/cancel",
        kind=Refund,
        parse=parsing.cancel_refund,
        execute=lambda ledger, target, command, cause: ledger.refunds.cancel(target, cause),
    ),
    Route(
        operation=Operation.ENDPOINT_CREATE,
        method="POST",
        path="/v1/webhook_endpoints",
        kind=WebhookEndpoint,
        parse=endpoint_parsing.create,
        execute=lambda ledger, target, command, cause: ledger.endpoints.create(command),
    ),
    Route(
        operation=Operation.ENDPOINT_UPDATE,
        method="POST",
        path="/v1/webhook_endpoints/{id}",
        kind=WebhookEndpoint,
        parse=endpoint_parsing.update,
        execute=lambda ledger, target, command, cause: ledger.endpoints.update(target, command),
    ),
    Route(
        operation=Operation.ENDPOINT_DELETE,
        method="DELETE",
        path="/v1/webhook_endpoints/{id}",
        kind=WebhookEndpoint,
        parse=endpoint_parsing.delete,
        execute=lambda ledger, target, command, cause: ledger.endpoints.delete(target),
    ),
    _retrieving(Operation.INTENT_RETRIEVE, "/v1/payment_intents/{id}", Intent),
    _retrieving(Operation.CHARGE_RETRIEVE, "/v1/charges/{id}", Charge),
    _retrieving(Operation.REFUND_RETRIEVE, "/v1/refunds/{id}", Refund),
    _retrieving(Operation.DISPUTE_RETRIEVE, "/v1/disputes/{id}", Dispute),
    _retrieving(Operation.EVENT_RETRIEVE, "/v1/events/{id}", Event),
    _retrieving(Operation.ENDPOINT_RETRIEVE, "/v1/webhook_endpoints/{id}", WebhookEndpoint),
    _listing(Operation.INTENT_LIST, "/v1/payment_intents", Intent, parsing.list_unfiltered),
    _listing(Operation.CHARGE_LIST, "/v1/charges", Charge, parsing.list_charges),
    _listing(Operation.REFUND_LIST, "/v1/refunds", Refund, parsing.list_of_charge),
    _listing(Operation.DISPUTE_LIST, "/v1/disputes", Dispute, parsing.list_of_charge),
    _listing(Operation.EVENT_LIST, "/v1/events", Event, parsing.list_events),
    _listing(Operation.ENDPOINT_LIST, "/v1/webhook_endpoints", WebhookEndpoint, parsing.list_unfiltered),
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
