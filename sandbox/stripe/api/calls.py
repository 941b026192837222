"""The way of every call: who calls, what they ask for, faults, the stored answer or the execution, the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import stripe

from sandbox.stripe.api.auth import for_customers, is_customer
from sandbox.stripe.api.idempotency import IdempotencyKeys
from sandbox.stripe.api.params import Params
from sandbox.stripe.clock import Clock
from sandbox.stripe.endpoints import DeletedEndpoint
from sandbox.stripe.errors import ApiError, invalid, too_many_calls, unknown_failure
from sandbox.stripe.events import EventRequest
from sandbox.stripe.faults import Draw, FaultSwitch, Operation
from sandbox.stripe.ledger.journal import Done
from sandbox.stripe.ledger.ledger import Ledger
from sandbox.stripe.objects import Intent
from sandbox.stripe.resources import Resource, new_id
from sandbox.stripe.store import Answer, Page, Store

_EXPANDABLE = frozenset({"charge", "latest_charge", "payment_intent", "payment_method"})


Result = Done | Page[Any] | Resource | DeletedEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call of the API: how its parameters are read, what carries it out, the kind of object it answers with.

    `execute` takes the ledger, the id in the path (empty when there is none), the command and the cause of events.
    """

    method: str
    path: str
    operation: Operation
    kind: type[Resource]
    parse: Callable[[Params], Any]
    execute: Callable[[Ledger, str, Any, EventRequest], Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request to the API. `parameters` are the body of a POST, else the query, form-encoded.

    `headers` are looked up by their names in lower case.
    """

    method: str
    path: str
    parameters: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back; a lost one breaks the connection instead."""

    status: int
    body: bytes
    headers: dict[str, str]
    lost: bool = False


class Calls:
    """Answers the API calls of one account; `changed` is called after each that may have changed something."""

    def __init__(
        self,
        *,
        api_key: str,
        store: Store,
        ledger: Ledger,
        keys: IdempotencyKeys,
        faults: FaultSwitch,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._api_key = api_key
        self._store = store
        self._ledger = ledger
        self._keys = keys
        self._faults = faults
        self._clock = clock
        self._changed = changed

    async def answer(self, route: Route, target: str, request: ApiRequest) -> Reply:
        """Carry out a call of the object whose id is `target`; every refusal is an answer too."""
        request_id = new_id("req", size=14)
        api_version = request.headers.get("stripe-version", stripe.api_version)
        sent_with = {"Request-Id": request_id, "Stripe-Version": api_version}
        try:
            params = Params(request.parameters, api_version=api_version)
            call = self._read_call(route, target, params, request.headers.get("authorization", ""), request_id)
            draw = self._faults.draw(route.operation)
            if draw.too_many:
                raise too_many_calls()
            if draw.error_before:
                raise unknown_failure()
            # Others do the same again without one (https://docs.stripe.com/api/idempotent_requests).
            key = request.headers.get("idempotency-key") if route.method == "POST" else None
            answer = await (self._read(call, draw) if route.method == "GET" else self._write(call, draw, key))
        except ApiError as error:
            return Reply(status=error.status, body=msgspec.json.encode(error.body()), headers=sent_with)
        if key is not None:
            # That of a first request names the request itself.
            sent_with |= {"Idempotency-Key": key, "Original-Request": answer.request_id}
        if answer.request_id != request_id:
            sent_with["Idempotent-Replayed"] = "true"
        return Reply(status=answer.status, body=answer.body, headers=sent_with, lost=draw.lose_response)

    def _read_call(self, route: Route, target: str, params: Params, authorization: str, request_id: str) -> _Call:
        customer = is_customer(authorization, params, operation=route.operation, api_key=self._api_key)
        command = route.parse(params)
        call = _Call(
            route=route,
            target=target,
            request_id=request_id,
            customer=customer,
            command=command,
            expand=params.array("expand"),
            fingerprint=f"{route.operation} {target} {customer} {params.fingerprint}",
        )
        params.finish()
        _check_expandable(call)
        return call

    async def _read(self, call: _Call, draw: Draw) -> Answer:
        await self._faults.hold(draw)
        result = call.route.execute(self._ledger, call.target, call.command, call.cause(None))
        if draw.error_after:
            raise unknown_failure()
        return call.answer(200, self._shown(result, call), at=self._clock.now())

    async def _write(self, call: _Call, draw: Draw, key: str | None) -> Answer:
        stored = None if key is None else self._keys.stored(key, call.fingerprint)
        if stored is not None:
            return stored
        with self._keys.executing(key):
            await self._faults.hold(draw)
            with self._store.transaction():
                answer = self._execute(call, key)
                if draw.error_after:
                    answer = call.refusal(unknown_failure(), at=answer.at)
                if key is not None:
                    self._store.save_answer(key, answer)
        self._changed()
        return answer

    def _execute(self, call: _Call, key: str | None) -> Answer:
        at = self._clock.now()
        try:
            result = call.route.execute(self._ledger, call.target, call.command, call.cause(key))
        except ApiError as error:
            # The rules refuse before anything is written, so there is nothing to undo.
            return call.refusal(error, at=at)
        if isinstance(result, Done) and result.error is not None:
            return call.refusal(result.error, at=at)
        return call.answer(200, self._shown(result, call), at=at)

    def _shown(self, result: Result, call: _Call) -> Any:
        if isinstance(result, Page):
            data = [self._expanded(item, call) for item in result.items]
            return {"object": "list", "data": data, "has_more": result.has_more, "url": call.route.path}
        resource = result.resource if isinstance(result, Done) else result
        if call.customer and isinstance(resource, Intent):
            return for_customers(resource)
        return self._expanded(resource, call)

    def _expanded(self, resource: Resource | DeletedEndpoint, call: _Call) -> Any:
        """https://docs.stripe.com/expand, one level deep."""
        if not call.expand:
            return resource
        shown = {name: getattr(resource, name) for name in resource.__struct_fields__}
        for field in call.expand:
            name = field.removeprefix("data.")
            body = None if shown[name] is None else self._store.raw(shown[name])
            shown[name] = None if body is None else msgspec.Raw(body)
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    route: Route
    target: str
    request_id: str
    customer: bool
    command: Any
    expand: list[str]
    fingerprint: str

    def cause(self, key: str | None) -> EventRequest:
        return EventRequest(id=self.request_id, idempotency_key=key)

    def answer(self, status: int, body: Any, *, at: float) -> Answer:
        encoded = msgspec.json.encode(body)
        return Answer(fingerprint=self.fingerprint, request_id=self.request_id, status=status, body=encoded, at=at)

    def refusal(self, error: ApiError, *, at: float) -> Answer:
        body = error.body()
        if self.customer and error.intent is not None:
            body["error"]["payment_intent"] = for_customers(error.intent)
        return self.answer(error.status, body, at=at)


def _check_expandable(call: _Call) -> None:
    for field in call.expand:
        name = field.removeprefix("data.")
        if name not in _EXPANDABLE or name not in call.route.kind.__struct_fields__:
            raise invalid(f"This property cannot be expanded ({field}).", param="expand")
