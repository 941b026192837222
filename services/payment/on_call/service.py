"""What the payment service tells people on call."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

from runtime.database import Database
from runtime.on_call import Concern, OrderRecord, events_section, read_events
from services.payment.on_call.history import timeline
from services.payment.on_call.repository import OnCallRepository
from services.payment.on_call.sections import (
    approvals_section,
    attempts_section,
    payment_sections,
    provider_events_section,
)
from services.payment.payments.repository import FollowedTable, PaymentRepository
from services.payment.refunds.approval_repository import ApprovalRepository


class PaymentOnCall:
    """See `runtime.on_call.OnCall`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """Stripe's events that do not get through, and refunds and disputes whose workflow cannot be reached."""
        async with self._database.autocommit() as connection:
            repository = OnCallRepository(connection)
            found = await repository.find_waiting_events(older_than=older_than, most=most + 1)
            found += await repository.find_flagged_events(most=most + 1)
            for table in get_args(FollowedTable):
                found += await repository.find_failing_follow_ups(table, older_than=older_than, most=most + 1)
        return found

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        """The order's payment with its attempts, refunds and disputes, and Stripe's events about it."""
        async with self._database.autocommit() as connection:
            payment = await PaymentRepository(connection).find_by_order(order_id)
            repository = OnCallRepository(connection)
            intent_id = None if payment is None else payment.intent_id
            received = await repository.find_events(order_id=order_id, intent_id=intent_id)
            if payment is None:
                return OrderRecord(sections=[provider_events_section(received)]) if received else None
            attempts = await repository.find_attempts(payment.id)
            approvals = await ApprovalRepository(connection).list_of(payment.id)
            ids = [f"payment:{payment.id}:{seq}" for seq in range(1, payment.seq + 1)]
            deleted_until = await repository.find_event_horizon(since=payment.created_at)
            published = await repository.find_published(payment.id, ids)
            events = await read_events(connection, ids)
        return OrderRecord(
            user_id=payment.user_id,
            sections=[
                *payment_sections(payment),
                approvals_section(approvals, currency=payment.settled_currency),
                attempts_section(attempts),
                provider_events_section(received, deleted_until=deleted_until),
                events_section(events),
            ],
            timeline=timeline(payment, attempts=attempts, approvals=approvals, published=published, received=received),
        )
