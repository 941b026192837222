"""Reading what is outside our databases: Stripe's objects, Temporal's runs, Kafka's events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import stripe
from aiokafka import AIOKafkaConsumer, TopicPartition
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from cli.audit.facts import IntentFact, RunFact
from domain.events import ORDER_EVENTS, PARTITIONS
from domain.saga import DISPUTE_CASE, ORDER_SAGA, REFUND_SAGA
from runtime.kafka_connection import kafka_options
from runtime.settings import Settings
from services.payment.stripe.amounts import from_stripe

PAGE: Final = 100
PROBLEMS_ATTRIBUTE: Final = "TemporalReportedProblems"


async def read_stripe(client: stripe.StripeClient, *, app: str) -> Mapping[str, IntentFact]:
    """Every payment intent that carries our metadata, with its refunds and disputes, by id."""
    disputes: dict[str, dict[str, str]] = defaultdict(dict)
    disputed = await client.v1.disputes.list_async({"limit": PAGE})
    async for dispute in disputed.auto_paging_iter():
        disputes[str(dispute.payment_intent)][dispute.id] = dispute.status
    refunds: dict[str, list[stripe.Refund]] = defaultdict(list)
    listed = await client.v1.refunds.list_async({"limit": PAGE})
    async for refund in listed.auto_paging_iter():
        refunds[str(refund.payment_intent)].append(refund)
    intents = await client.v1.payment_intents.list_async({"limit": PAGE})
    facts = {}
    async for intent in intents.auto_paging_iter():
        metadata = intent.metadata.to_dict() if intent.metadata else {}
        if metadata.get("app") == app:
            facts[intent.id] = _to_fact(intent, metadata, refunds[intent.id], disputes[intent.id])
    return facts


async def read_temporal(client: Client) -> Mapping[str, RunFact]:
    """The last run under each id of ours: Temporal lists the newest first."""
    types = ", ".join(f"'{name}'" for name in (ORDER_SAGA, REFUND_SAGA, DISPUTE_CASE))
    runs: dict[str, RunFact] = {}
    async for run in client.list_workflows(f"WorkflowType IN ({types})"):
        if run.id in runs and run.status is not WorkflowExecutionStatus.RUNNING:
            continue
        runs[run.id] = RunFact(
            is_running=run.status is WorkflowExecutionStatus.RUNNING,
            has_problems=_has_problems(run),
        )
    return runs


async def read_kafka(settings: Settings) -> Mapping[str, list[int]]:
    """The seqs of each order's events in Kafka, in their order there, repeats left out."""
    consumer = AIOKafkaConsumer(**kafka_options(settings), enable_auto_commit=False, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        partitions = [TopicPartition(ORDER_EVENTS, number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        if filled := [partition for partition in partitions if ends[partition] > 0]:
            consumer.assign(filled)
            await consumer.seek_to_beginning()
        seqs: dict[str, list[int]] = defaultdict(list)
        while [left for left in consumer.assignment() if await consumer.position(left) < ends[left]]:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                for record in records:
                    _count(seqs, record)
        return seqs
    finally:
        await consumer.stop()


def _count(seqs: dict[str, list[int]], record: Any) -> None:
    """Note an event; whatever else somebody has put there is none of ours, and our consumers dead-letter it."""
    number: bytes = dict(record.headers).get("ce_seq", b"")
    if record.key is None or not number.isdigit():
        return
    order_id, seq = record.key.decode(errors="replace"), int(number)
    if seq not in seqs[order_id]:
        seqs[order_id].append(seq)


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
