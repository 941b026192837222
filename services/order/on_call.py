"""What the order service tells people on call: cancellations that do not get through, and an order's history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from domain.concerns import CANCEL_STEP, ConcernKind
from domain.money import format_money
from domain.orders import EVENT_TYPES, REFUNDED_EVENT
from domain.saga import order_workflow_id
from runtime.caller import SERVICE
from runtime.database import Database
from runtime.on_call import Concern, OrderRecord, Section, TimelineEntry, events_section, read_events
from runtime.refusal import Unavailable
from services.order.attention.model import WorkflowState
from services.order.attention.service import AttentionService
from services.order.attention.workflows import WorkflowReader
from services.order.cancellation_service import CancellationService
from services.order.errors import OrderNotFound
from services.order.guests.model import GuestHistory
from services.order.guests.repository import GuestRepository
from services.order.model import Order, StoredCancellationRequest, Transition
from services.order.service import OrderService

_STANDING_REQUESTS: Final = """
    SELECT order_id, requested_at, attempts, last_error FROM cancellation_requests
     WHERE settled_at IS NULL AND last_error IS NOT NULL AND requested_at < now() - %(older_than)s::interval
     ORDER BY requested_at LIMIT %(most)s
"""


class OrderOnCall:
    """See `runtime.on_call.OnCall`."""

    def __init__(
        self,
        database: Database,
        orders: OrderService,
        cancellations: CancellationService,
        attention: AttentionService,
        workflows: WorkflowReader,
    ) -> None:
        self._database = database
        self._orders = orders
        self._cancellations = cancellations
        self._attention = attention
        self._workflows = workflows

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """Cancellations that the sagas cannot be asked for; all else about orders the watcher finds."""
        async with self._database.autocommit() as connection:
            return await connection.fetch_all(_to_concern, _STANDING_REQUESTS, older_than=older_than, most=most + 1)

    async def _read(self, workflow_id: str) -> WorkflowState | str:
        try:
            return await self._workflows.read_one(workflow_id)
        except Unavailable as problem:
            return str(problem)

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        """Its lines and history, what needed a person, and what persons did."""
        try:
            order = await self._orders.get(order_id, caller=SERVICE)
        except OrderNotFound:
            return None
        concerns = await self._attention.find_of_order(order_id)
        actions = await self._attention.find_actions(order_id)
        request = await self._cancellations.find(order_id)
        async with self._database.autocommit() as connection:
            events = await read_events(connection, (_event_id(order_id, each.seq) for each in order.transitions))
            guest = await GuestRepository(connection).find_history(order_id)
        types = {event.ce_id: event.ce_type for event in events}
        timeline = [_of_transition(each, types.get(_event_id(order_id, each.seq))) for each in order.transitions]
        if request is not None:
            timeline.append(_of_request(request))
        if guest is not None:
            timeline += _of_guest(guest)
        for concern in concerns:
            what = _what(concern.kind, concern.subject_id, order_id, concern.step)
            timeline.append(
                TimelineEntry(
                    at=concern.raised_at,
                    type="attention.raised",
                    text=f"{what}: {concern.cause}",
                    actor=concern.raised_by,
                )
            )
            if concern.cleared_at is not None:
                timeline.append(
                    TimelineEntry(
                        at=concern.cleared_at, type="attention.cleared", text=what, actor=concern.cleared_by or ""
                    )
                )
        timeline += [
            TimelineEntry(
                at=action.at,
                type=f"operator.{action.action}",
                text=_what(action.kind, action.subject_id, order_id, action.outcome),
                actor=action.actor,
                note=action.note,
            )
            for action in actions
        ]
        workflow = order_workflow_id(order_id)
        sections = [
            _of_order(order),
            _of_lines(order),
            _of_adjustments(order),
            Section("metadata", ("key", "value"), sorted(order.shop_metadata.items())),
            events_section(events),
            *_of_workflow(workflow, await self._read(workflow)),
        ]
        return OrderRecord(user_id=order.user_id, sections=sections, timeline=timeline)


def _of_workflow(workflow_id: str, state: WorkflowState | str) -> list[Section]:
    """Where the order's workflow stands, and its steps that fail; a text says why that is not known."""
    if isinstance(state, str):
        return [Section("workflow", ("id", "problem"), [(workflow_id, f"it cannot be asked: {state}")])]
    status = "gone" if state.status is None else state.status.name
    steps = [(name, step.attempts, step.error) for name, step in state.failing.items()]
    return [
        Section("workflow", ("id", "status", "problem"), [(workflow_id, status, _problem(state))]),
        Section("failing steps", ("step", "attempts", "last_error"), steps),
    ]


def _problem(state: WorkflowState) -> str | None:
    """Why the workflow does not go on, where that is not one of its steps."""
    if state.ending is not None or state.task_error is not None:
        return state.ending or state.task_error
    if state.task_waits_since is not None:
        return f"waits for an order worker since {state.task_waits_since:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _what(kind: ConcernKind, subject_id: str, order_id: str, text: str) -> str:
    """The text, with what it is about unless that is the order itself."""
    return text if subject_id == order_id else f"{kind.lower()} {subject_id}: {text}"


def _event_id(order_id: str, seq: int) -> str:
    return f"order:{order_id}:{seq}"


def _to_concern(*, order_id: str, requested_at: datetime, attempts: int, last_error: str) -> Concern:
    return Concern(
        kind=ConcernKind.ORDER,
        subject_id=order_id,
        step=CANCEL_STEP,
        order_id=order_id,
        cause="its saga cannot be asked to cancel it",
        since=requested_at,
        attempts=attempts,
        last_error=last_error,
    )


def _of_order(order: Order) -> Section:
    return Section(
        "order",
        ("number", "status", "reason", "total", "refunded", "customer", "payment", "created_at", "payment_deadline"),
        [
            (
                order.number,
                order.status,
                order.reason,
                None if order.total is None else format_money(order.total, order.currency),
                format_money(order.refunded, order.currency),
                f"{order.user_id} (a guest)" if order.is_guest else order.user_id,
                order.payment_id,
                order.created_at,
                order.payment_deadline,
            )
        ],
    )


def _of_lines(order: Order) -> Section:
    def price(unit_price: int | None) -> str | None:
        return None if unit_price is None else format_money(unit_price, order.currency)

    return Section(
        "items",
        ("product", "name", "quantity", "unit_price"),
        [(item.product_id, item.name, item.quantity, price(item.unit_price)) for item in order.items],
    )


def _of_adjustments(order: Order) -> Section:
    return Section(
        "adjustments",
        ("type", "name", "amount"),
        [(each.type, each.name, format_money(each.change, order.currency)) for each in order.adjustments],
    )


def _of_transition(transition: Transition, event_type: str | None) -> TimelineEntry:
    reason = f": {transition.reason}" if transition.reason else ""
    return TimelineEntry(
        at=transition.at,
        type=event_type or EVENT_TYPES.get(transition.to_status, REFUNDED_EVENT),
        text=f"{transition.to_status}{reason}",
        for_customer=True,
    )


def _of_guest(guest: GuestHistory) -> Iterator[TimelineEntry]:
    if guest.adopted_at is not None:
        yield TimelineEntry(
            at=guest.adopted_at,
            type="order.adopted",
            text="an account adopted the order, which a guest had placed",
            for_customer=True,
        )
    if guest.erased_at is not None:
        yield TimelineEntry(
            at=guest.erased_at,
            type="guest.erased",
            text="who placed the order was erased",
            actor=guest.erased_by or "",
            for_customer=True,
        )


def _of_request(request: StoredCancellationRequest) -> TimelineEntry:
    by = f"operator:{request.operator}" if request.operator else f"{request.cancelled_by.lower()}:{request.user_id}"
    return TimelineEntry(
        at=request.requested_at,
        type="order.cancellation-requested",
        text="somebody asked for the order's cancellation",
        actor=by,
        note=request.note,
        for_customer=True,
    )
