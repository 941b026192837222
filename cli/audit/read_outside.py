"""Reading what is outside our databases: Stripe's objects, Temporal's runs, Kafka's events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import aiohttp
import stripe
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from cli.audit.facts import IntentFact, RunFact
from cli.audit.patience import Unreadable, patiently
from domain.events import ORDER_EVENTS
from domain.ids import is_id
from domain.orders import EVENT_TYPES, REFUND_FAILED_EVENT, REFUNDED_EVENT
from domain.saga import DISPUTE_CASE, ORDER_SAGA, REFUND_SAGA
from runtime.cloudevents import EventHeaders, NotAnEvent
from runtime.kafka_connection import diagnose, explain, kafka_options
from runtime.kafka_topics import KafkaUnusable, partitions_of
from runtime.refusal import Unavailable
from runtime.settings import Settings
from runtime.temporal import TemporalRefused, ask_temporal
from services.payment.stripe.amounts import from_stripe
from services.payment.stripe.messages import to_error

Item = TypeVar("Item", bound=stripe.StripeObject)
Page = TypeVar("Page")

PAGE: Final = 100
PROBLEMS_ATTRIBUTE: Final = "TemporalReportedProblems"
_TEMPORAL_PAGE: Final = timedelta(seconds=10)
"""Limit of one page of a list of workflows."""
_STANDSTILL: Final = 10.0
"""Seconds without any record after which Kafka does not answer."""
_EVENT_TYPES: Final = frozenset({*EVENT_TYPES.values(), REFUNDED_EVENT, REFUND_FAILED_EVENT})
_IN_VAIN: Final = (stripe.AuthenticationError, stripe.PermissionError, stripe.InvalidRequestError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is on the topic of the orders' events.

    Attributes:
        seqs: order id to the seqs of its events, in their order there, repeats left out.
        foreign: the number of records that are no events of ours.
        forgotten_until: the moment of the last record, at the latest, that the topic has forgotten; None if it has all.
    """

    seqs: Mapping[str, list[int]]
    foreign: int
    forgotten_until: datetime | None


async def read_stripe(client: stripe.StripeClient, *, app: str) -> Mapping[str, IntentFact]:
    """Every payment intent that carries our metadata, with its refunds and disputes, by id.

    Raises:
        Unavailable: Stripe does not answer, or not for us.
    """
    disputes: dict[str, dict[str, str]] = defaultdict(dict)
    async for dispute in _every(lambda: client.v1.disputes.list_async({"limit": PAGE})):
        disputes[str(dispute.payment_intent)][dispute.id] = dispute.status
    refunds: dict[str, list[stripe.Refund]] = defaultdict(list)
    async for refund in _every(lambda: client.v1.refunds.list_async({"limit": PAGE})):
        refunds[str(refund.payment_intent)].append(refund)
    facts = {}
    async for intent in _every(lambda: client.v1.payment_intents.list_async({"limit": PAGE})):
        metadata = intent.metadata.to_dict() if intent.metadata else {}
        if metadata.get("app") == app:
            facts[intent.id] = _to_fact(intent, metadata, refunds[intent.id], disputes[intent.id])
    return facts


async def read_temporal(client: Client) -> Mapping[str, RunFact]:
    """The last run under each id of ours: Temporal lists the newest first.

    Raises:
        Unavailable: Temporal does not answer, or not for us.
    """
    types = ", ".join(f"'{name}'" for name in (ORDER_SAGA, REFUND_SAGA, DISPUTE_CASE))
    listed = client.list_workflows(f"WorkflowType IN ({types})", rpc_timeout=_TEMPORAL_PAGE)

    async def fetch() -> None:
        try:
            await ask_temporal(listed.fetch_next_page, within=_TEMPORAL_PAGE)
        except TemporalRefused as refused:
            raise Unreadable(str(refused)) from None

    runs: dict[str, RunFact] = {}
    while True:
        await patiently(fetch)
        for run in listed.current_page or ():
            if run.id not in runs or run.status is WorkflowExecutionStatus.RUNNING:
                is_running = run.status is WorkflowExecutionStatus.RUNNING
                runs[run.id] = RunFact(is_running=is_running, has_problems=_has_problems(run))
        if not listed.next_page_token:
            return runs


async def read_kafka(settings: Settings) -> Published:
    """The orders' events in Kafka, and what else somebody has put on their topic.

    Raises:
        SettingsError: the settings for Kafka do not fit.
        Unavailable: Kafka does not answer, or has no such topic.
    """
    consumer = AIOKafkaConsumer(
        **kafka_options(settings),
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        request_timeout_ms=int(_STANDSTILL * 1_000),
    )
    try:
        async with asyncio.timeout(_STANDSTILL) as limit:
            await consumer.start()
            return await _read_events(consumer, limit)
    except KafkaError as error:
        raise Unavailable(f"Kafka: {await diagnose(settings) or explain(error)}") from None
    except TimeoutError:
        problem = await diagnose(settings) or f"{settings.kafka_bootstrap} gave no record for {_STANDSTILL:g} s"
        raise Unreadable(f"Kafka: {problem}") from None
    finally:
        await consumer.stop()


async def _read_events(consumer: AIOKafkaConsumer, limit: asyncio.Timeout) -> Published:
    """What is there by now, to its end; each record puts the limit off."""
    try:
        partitions = await partitions_of(consumer, [ORDER_EVENTS])
    except KafkaUnusable as missing:
        raise Unreadable(str(missing)) from None
    ends = await consumer.end_offsets(partitions)
    forgetful = {partition for partition, first in (await consumer.beginning_offsets(partitions)).items() if first > 0}
    forgotten_until: datetime | None = None
    seqs: dict[str, list[int]] = defaultdict(list)
    foreign = 0
    if filled := [partition for partition, end in ends.items() if end > 0]:
        consumer.assign(filled)
        await consumer.seek_to_beginning()
    while [left for left in consumer.assignment() if await consumer.position(left) < ends[left]]:
        for partition, records in (await consumer.getmany(timeout_ms=1_000)).items():
            limit.reschedule(asyncio.get_running_loop().time() + _STANDSTILL)
            if partition in forgetful:
                forgetful.discard(partition)
                first = datetime.fromtimestamp(records[0].timestamp / 1_000, UTC)
                forgotten_until = max(first, forgotten_until or first)
            for record in records:
                if (event := _event_in(record)) is None:
                    foreign += 1
                elif event.seq not in seqs[event.subject]:
                    seqs[event.subject].append(event.seq)
    return Published(seqs=seqs, foreign=foreign, forgotten_until=forgotten_until)


def _event_in(record: ConsumerRecord) -> EventHeaders | None:
    """What the headers say; None for a record that is no event of an order, which our consumers dead-letter."""
    try:
        headers = EventHeaders.from_kafka(record.headers)
    except NotAnEvent:
        return None
    is_keyed = is_id(headers.subject) and record.key == headers.subject.encode()
    return headers if is_keyed and headers.type in _EVENT_TYPES else None


async def _every(ask: Callable[[], Awaitable[stripe.ListObject[Item]]]) -> AsyncIterator[Item]:
    """The items of the first page and of those that follow, each of which is a call of its own."""
    page = await patiently(lambda: _answer(ask))
    while True:
        for item in page.data:
            yield item
        if not page.has_more:
            return
        following = page.next_page_async
        page = await patiently(lambda: _answer(following))  # noqa: B023 - awaited at once


async def _answer(ask: Callable[[], Awaitable[Page]]) -> Page:
    try:
        return await ask()
    except _IN_VAIN as error:
        raise Unreadable(f"Stripe: {error.user_message or type(error).__name__}") from None
    except stripe.StripeError as error:
        raise Unavailable(str(to_error(error))) from None
    except (aiohttp.ClientError, TimeoutError) as error:  # the SDK lets through what breaks in an answer's body
        raise Unavailable(f"Stripe: {type(error).__name__}: {error}") from None


def _has_problems(run: WorkflowExecution) -> bool:
    return bool(run.search_attributes.get(PROBLEMS_ATTRIBUTE))


def _to_fact(
    intent: stripe.PaymentIntent,
    metadata: Mapping[str, str],
    refunds: list[stripe.Refund],
    disputes: Mapping[str, str],
) -> IntentFact:
    currency = intent.currency.upper()
    succeeded = sum(refund.amount for refund in refunds if refund.status == "succeeded")
    return IntentFact(
        id=intent.id,
        payment_id=metadata.get("payment_id", ""),
        order_id=metadata.get("order_id", ""),
        status=intent.status,
        amount_received=from_stripe(intent.amount_received, currency),
        refunded=from_stripe(succeeded, currency),
        refunds={refund.id: str(refund.status) for refund in refunds},
        disputes=disputes,
    )
