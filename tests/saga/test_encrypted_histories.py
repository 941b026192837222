"""A shop whose payloads are encrypted: its sagas run as ever, and their histories tell the server nothing."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from cli.replay.gate import Gate
from cli.replay.histories import Source
from cli.replay.verdict import Verdict
from domain.refunds import RefundStatus
from domain.saga import OrderResult, dispute_workflow_id
from runtime.settings import Settings
from runtime.temporal_codec import data_converter
from tests.support.saga_refunds import (
    DISPUTED,
    attention_is,
    paid,
    payment_of,
    refund_saga,
    request_refund,
)
from tests.support.saga_shop import open_shop

SEARCHED: Final = {"OrderStatus", "CustomerId", "OrderTotal", "OrderAttention", "TemporalChangeVersion"}
"""Search attributes: what the server is to find, it has to read."""
MARKED: Final = {
    *("seq", "attempt", "activity_id", "activity_type"),
    *("complete_time", "backoff", "original_schedule_time", "activation_index"),
}
"""What the SDK's core notes of a step that ran, without asking any codec: no input and no result."""
METADATA_QUERY: Final = "__temporal_workflow_metadata"
FAILURE: Final = "words of a failure"

Run = WorkflowHandle[Any, Any]


def new_key() -> SecretStr:
    return SecretStr(b64encode(os.urandom(32)).decode())


def with_keys(env: WorkflowEnvironment, **keys: SecretStr) -> tuple[Client, DataConverter]:
    """A client that encrypts with the first of the keys."""
    converter = data_converter(Settings(temporal_payload_keys=keys))
    config = env.client.config() | {"data_converter": converter}
    return Client(**config), converter


def payloads_in(message: Message, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Payload]]:
    """Every payload of a message, and where it is."""
    if isinstance(message, Payload):
        yield path, message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key, one in value.items():
                    yield from payloads_in(one, (*path, field.name, str(key)))
        else:
            for one in value if field.is_repeated else [value]:
                yield from payloads_in(one, (*path, field.name))


def in_plain_text(messages: Sequence[Message]) -> dict[tuple[str, ...], list[bytes]]:
    """Where payloads are not encrypted, and what is in them."""
    found: dict[tuple[str, ...], list[bytes]] = {}
    for message in messages:
        for path, payload in payloads_in(message):
            if payload.metadata.get("encoding") != b"binary/encrypted":
                found.setdefault(path[-2:], []).append(payload.data)
    return found


def keys_of(history: WorkflowHistory) -> set[bytes]:
    """The ids of the keys that its payloads are encrypted with."""
    found = (payload for event in history.events for _, payload in payloads_in(event))
    return {payload.metadata["encryption-key-id"] for payload in found if "encryption-key-id" in payload.metadata}


async def metadata_of(client: Client, run: Run) -> Message:
    """What the Web UI asks a worker for: with it come the current details, which no history has."""
    return await client.workflow_service.query_workflow(
        QueryWorkflowRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=run.id),
            query=WorkflowQuery(query_type=METADATA_QUERY),
        )
    )


async def replays(converter: DataConverter, run: Run, history: WorkflowHistory) -> bool:
    """Whether it does, from what the server shows of it."""
    source = Source.of(run.id, WorkflowHistory.from_json(run.id, history.to_json()))
    async with Gate(converter) as gate:
        return (await gate.replay(source)).verdict is Verdict.REPLAYS


async def test_what_orders_refunds_and_disputes_leave_at_the_server_has_no_plain_text_but_what_it_searches_by(
    env: WorkflowEnvironment, disposable_databases: Mapping[str, str], tmp_path: Path
) -> None:
    async def refuse() -> None:
        raise ApplicationError(FAILURE, type="DISPUTE_NOT_FOUND", non_retryable=True)

    client, converter = with_keys(env, one=new_key())
    encrypted = WorkflowEnvironment.from_client(client)
    async with open_shop(disposable_databases, encrypted, data=tmp_path, task_queue="encrypted") as shop:
        shop.hooks.before["check_dispute"] = refuse
        product = await shop.product(units=10)
        order = await paid(shop, product, card=DISPUTED)
        await shop.deliver_events()
        await attention_is(shop, order, "check_dispute")
        [dispute] = (await payment_of(shop, order)).disputes
        case: Run = client.get_workflow_handle(dispute_workflow_id(dispute.id))
        metadata = await metadata_of(client, case)
        await case.execute_update("retry")
        await attention_is(shop, order, "dispute")
        await shop.switch(f"disputes/{dispute.id}", status="won")
        await shop.deliver_events()
        await case.result()
        requested = await request_refund(shop, order, 700)
        runs = [order, case, refund_saga(shop, requested.refund)]
        histories = [await run.fetch_history() for run in runs]
        described = [(await run.describe()).raw_description for run in runs]

    seen = [*(event for history in histories for event in history.events), *described, metadata]
    plain = in_plain_text(seen)
    searched = {path: plain.pop(path) for path in list(plain) if path[0] == "indexed_fields"}
    marked, patched = plain.pop(("data", "payloads")), plain.pop(("patch-data", "payloads"))
    assert {name for _, name in searched} <= SEARCHED
    assert plain == {}
    assert {name for data in marked for name in json.loads(data)} <= MARKED
    assert {name for data in patched for name in json.loads(data)} == {"id", "deprecated"}  # of a change to the code
    assert any(payload.metadata["encoding"] == b"binary/encrypted" for _, payload in payloads_in(metadata))
    everything = "\n".join(str(message) for message in seen)
    assert [secret for secret in (product, FAILURE, DISPUTED, "EUR", "1 Street") if secret in everything] == []
    assert [await replays(converter, run, history) for run, history in zip(runs, histories, strict=True)] == [True] * 3


async def test_after_the_key_was_changed_old_histories_are_read_and_their_orders_refunded(
    env: WorkflowEnvironment, disposable_databases: Mapping[str, str], tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    before, _ = with_keys(env, old=old)
    after, both = with_keys(env, new=new, old=old)
    _, only_new = with_keys(env, new=new)

    environment = WorkflowEnvironment.from_client(before)
    async with open_shop(disposable_databases, environment, data=tmp_path, task_queue="before") as shop:
        order = await paid(shop, await shop.product())
        await order.result()
    environment = WorkflowEnvironment.from_client(after)
    async with open_shop(disposable_databases, environment, data=tmp_path, task_queue="after") as shop:
        order = after.get_workflow_handle(order.id, result_type=OrderResult)
        requested = await request_refund(shop, order)
        refund = refund_saga(shop, requested.refund)
        await refund.result()
        disagreements = await shop.disagreements(order)

    sold, refunded = await order.fetch_history(), await refund.fetch_history()
    assert (requested.refund.status, disagreements) == (RefundStatus.SUCCEEDED, [])
    assert ((await order.result()).status, keys_of(sold), keys_of(refunded)) == ("PAID", {b"old"}, {b"new"})
    assert await replays(both, order, sold)
    assert await replays(both, refund, refunded)
    assert not await replays(only_new, order, sold)


def test_a_payload_in_plain_text_is_found_wherever_it_is() -> None:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"secret"')
    history = WorkflowHistory.from_json(
        "order-1",
        {
            "events": [
                {
                    "eventId": "1",
                    "workflowExecutionStartedEventAttributes": {"memo": {"fields": {"note": _shown(plain)}}},
                    "userMetadata": {"summary": _shown(plain)},
                }
            ]
        },
    )

    assert in_plain_text(history.events).keys() == {("fields", "note"), ("user_metadata", "summary")}


def _shown(payload: Payload) -> Mapping[str, Any]:
    metadata = {name: b64encode(value).decode() for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": b64encode(payload.data).decode()}
