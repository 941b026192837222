"""An order's whole way on the embedded stack: HTTP, Stripe's webhook, Kafka, Temporal, a received mail."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import stripe
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey

from cli.audit.invariants import CHECKS
from domain.events import TOPICS
from domain.ids import new_id
from runtime.kafka_topics import find_missing as find_missing_topics
from runtime.part_settings import SETTINGS
from runtime.temporal import connect_temporal
from runtime.temporal_namespace import find_problem as find_temporal_problem
from sandbox.environment import process_environment
from sandbox.processes import ROOT
from tests.support.client import (
    NAME,
    PASSWORD,
    PRICE,
    STREET,
    Customer,
    Event,
    Json,
    StackClient,
    order_of,
    running_stack,
    until,
)

AUDIT = (sys.executable, "-m", "cli.main", "audit")
SERVICES = {"order", "payment", "notification", "inventory", "product", "user"}
OUR_PROCESSES = SERVICES | {"gateway", "relay", "order-worker", "stripe-double", "mail-sink"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidOrder:
    """An order that went the whole way, with what was said on it."""

    id: str
    customer: Customer
    product_id: str
    body: Json
    key: str
    placed: httpx.Response
    paid: Json


@pytest_asyncio.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StackClient]:
    async with running_stack(tmp_path_factory.mktemp("var")) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def paid(client: StackClient) -> PaidOrder:
    customer = await client.sign_up()
    product_id = await client.add_product()
    body, key = order_of(product_id, quantity=2), new_id()
    placed = await client.place(customer, body, key=key)
    order_id = placed.json()["id"]
    await client.pay(placed.json())
    order = await until(lambda: client.read_order(customer, order_id), lambda order: order["status"] != "PENDING")
    return PaidOrder(
        id=order_id, customer=customer, product_id=product_id, body=body, key=key, placed=placed, paid=order
    )


async def test_an_order_is_pending_until_its_customer_pays_in_the_browser(client: StackClient, paid: PaidOrder) -> None:
    placed, order = paid.placed.json(), paid.paid

    assert (paid.placed.status_code, placed["status"]) == (201, "PENDING")
    assert paid.placed.headers["location"] == f"/v1/orders/{paid.id}"
    assert placed["client_secret"].startswith("pi_")
    assert (order["status"], order["reason"], order["total"]) == ("PAID", None, 2 * PRICE)
    assert order["client_secret"] is None
    assert order["items"] == [{"product_id": paid.product_id, "name": "Coffee mug", "quantity": 2, "unit_price": PRICE}]
    assert order["shipping_address"] == {"region": None, **paid.body["shipping_address"]}
    assert [(row["seq"], row["from"], row["to"]) for row in order["transitions"]] == [
        (1, None, "RECEIVED"),
        (2, "RECEIVED", "PENDING"),
        (3, "PENDING", "PAID"),
    ]
    stock = await client.gateway.get(f"/v1/inventory/{paid.product_id}", headers=client.admin)
    assert stock.json() == {"product_id": paid.product_id, "on_hand": 8, "reserved": 0, "available": 8}


async def test_the_same_idempotency_key_answers_with_the_same_order(client: StackClient, paid: PaidOrder) -> None:
    repeat = await client.place(paid.customer, paid.body, key=paid.key)

    assert repeat.status_code == 201
    assert repeat.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in paid.placed.headers
    assert repeat.json() == paid.paid


def is_gapless(events: Sequence[Event], *, aggregate: str, aggregate_id: str) -> bool:
    """Whether the events carry the ids and sequence numbers of one aggregate, from 1 on."""
    return [(event.headers["ce_id"], event.headers["ce_seq"]) for event in events] == [
        (f"{aggregate}:{aggregate_id}:{seq}", str(seq)) for seq in range(1, len(events) + 1)
    ]


async def test_each_transition_of_an_order_is_an_event_under_its_id(client: StackClient, paid: PaidOrder) -> None:
    events = await client.kafka.events("order-events", paid.id, at_least=3)

    assert [event.headers["ce_type"] for event in events] == ["order.received", "order.created", "order.paid"]
    assert is_gapless(events, aggregate="order", aggregate_id=paid.id)
    for event, transition in zip(events, paid.paid["transitions"], strict=True):
        assert event.headers.items() >= {
            ("ce_specversion", "1.0"),
            ("ce_source", "/ordersaga/order"),
            ("ce_subject", paid.id),
            ("ce_time", transition["at"]),
            ("content-type", "application/json"),
        }
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", event.headers["traceparent"])
        assert (event.data["orderId"], event.data["userId"]) == (paid.id, paid.customer.id)
        assert event.data["toStatus"] == transition["to"]
    assert events[-1].data["currency"] == "EUR"
    assert events[-1].data["total"] == str(2 * PRICE)
    assert events[-1].data["lines"] == [
        {"productId": paid.product_id, "quantity": 2, "unitPrice": str(PRICE), "name": "Coffee mug"}
    ]


async def test_what_happens_to_a_payment_is_published_under_its_order(client: StackClient, paid: PaidOrder) -> None:
    events = await client.kafka.events("payment-events", paid.id, at_least=3)

    assert [(event.headers["ce_type"], event.data["status"]) for event in events] == [
        ("payment.created", "OPENING"),
        ("payment.status_updated", "REQUIRES_PAYMENT_METHOD"),
        ("payment.status_updated", "SUCCEEDED"),
    ]
    assert is_gapless(events, aggregate="payment", aggregate_id=paid.paid["payment_id"])
    assert (events[-1].data["amount"], events[-1].data["amountReceived"]) == (str(2 * PRICE), str(2 * PRICE))


async def test_stock_products_users_and_mails_have_their_events(client: StackClient, paid: PaidOrder) -> None:
    expected = {
        ("product-events", paid.product_id, "product"): ["product.created"],
        ("stock-events", paid.product_id, "stock"): ["stock.adjusted", "stock.reserved", "stock.committed"],
        ("user-events", paid.customer.id, "user"): [
            *("user.created", "user.confirmation_requested", "user.email_confirmed"),
        ],
        ("notification-events", paid.id, "notification"): ["notification.sent", "notification.sent"],
    }

    for (topic, key, aggregate), types in expected.items():
        events = await client.kafka.events(topic, key, at_least=len(types))
        assert [event.headers["ce_type"] for event in events] == types
        assert is_gapless(events, aggregate=aggregate, aggregate_id=key)


async def test_what_an_admin_writes_arrives_by_mail_and_by_sms_and_is_told(client: StackClient) -> None:
    customer = await client.sign_up()
    mail = {"channel": "email", "user_id": customer.id, "subject": "Hello", "body": "Hello there"}
    sms = {"channel": "sms", "user_id": customer.id, "phone": "+4915112345678", "message": "Hello there"}

    for message in (mail, sms):
        answer = await client.gateway.post("/v1/notifications", json=message, headers=client.admin)
        assert answer.status_code == 202

    [received] = await client.mails(customer.email, at_least=1)
    [text] = await client.mails("+4915112345678", at_least=1)
    assert (received["subject"], text["channel"], text["text"]) == ("Hello", "sms", "Hello there")
    events = await client.kafka.events(
        "notification-events", customer.id, at_least=3
    )  # the first confirmed the address
    assert [event.headers["ce_type"] for event in events] == ["notification.sent"] * 3
    assert is_gapless(events, aggregate="notification", aggregate_id=customer.id)


async def test_a_customer_who_is_erased_is_forgotten_by_their_order_which_stays(client: StackClient) -> None:
    customer, product_id = await client.sign_up(), await client.add_product()
    body = {**order_of(product_id, quantity=1), "payment_method": "pm_card_visa"}
    order_id = (await client.place(customer, body, key=new_id())).json()["id"]
    paid = await client.until_status(customer, order_id, "PAID")

    body = {"current_password": PASSWORD}
    erased = await client.gateway.request("DELETE", "/v1/users/me", json=body, headers=customer.token)

    assert erased.status_code == 204

    async def read() -> Json:
        order: Json = (await client.gateway.get(f"/v1/orders/{order_id}", headers=client.admin)).json()
        return order

    after = await until(read, lambda order: order["shipping_address"]["name"] is None)
    assert {value for value in after["shipping_address"].values() if value} == {"DE"}
    assert {**after, "shipping_address": None} == {**paid, "shipping_address": None}
    events = await client.kafka.events("user-events", customer.id, at_least=4)
    assert events[-1].headers["ce_type"] == "user.erased"


async def test_the_customer_gets_a_confirmation_and_a_receipt(client: StackClient, paid: PaidOrder) -> None:
    mails = await client.mails(paid.customer.email, at_least=2)

    assert [mail["message_id"] for mail in mails] == [f"<order-{paid.id}-{seq}@ordersaga>" for seq in (2, 3)]
    for mail in mails:
        assert mail["to"] == [paid.customer.email]
        for form in (mail["text"], mail["html"]):
            assert all(fact in form for fact in (NAME, "Coffee mug", "25.00 EUR", paid.paid["number"]))


async def test_the_workflow_completes_and_is_found_by_what_became_of_it(client: StackClient, paid: PaidOrder) -> None:
    run = await until(client.workflow(paid.id).describe, lambda run: run.status is not WorkflowExecutionStatus.RUNNING)

    assert run.status is WorkflowExecutionStatus.COMPLETED
    attributes = run.typed_search_attributes
    assert attributes[SearchAttributeKey.for_keyword("OrderStatus")] == "PAID"
    assert attributes[SearchAttributeKey.for_int("OrderTotal")] == 2 * PRICE
    assert attributes[SearchAttributeKey.for_keyword("CustomerId")] == paid.customer.id


async def test_neither_the_history_nor_the_events_tell_who_the_customer_is(
    client: StackClient, paid: PaidOrder
) -> None:
    private = (paid.customer.email, NAME, STREET, paid.placed.json()["client_secret"])

    history = b"".join([event.SerializeToString() async for event in client.workflow(paid.id).fetch_history_events()])
    published = [
        event.data
        for topic, key in (("order-events", paid.id), ("payment-events", paid.id), ("user-events", paid.customer.id))
        for event in await client.kafka.events(topic, key, at_least=1)
    ]

    assert [fact for fact in private if fact.encode() in history] == []
    assert [fact for fact in private if fact in json.dumps(published)] == []


async def test_the_audit_finds_that_money_stock_and_orders_agree(client: StackClient, paid: PaidOrder) -> None:
    code, output, _ = await run_command(*AUDIT, environment=process_environment(client.stack.settings, *SETTINGS))

    assert code == 0, output.decode()
    assert output.decode().count("holds") == len(CHECKS)


async def test_the_audit_holds_while_stripe_loses_half_of_its_answers(client: StackClient, paid: PaidOrder) -> None:
    await client.break_stripe({"api": {"lose_response": 0.5, "error_500_before": 0.2, "error_429": 0.1}, "seed": 1})
    try:
        code, output, _ = await run_command(*AUDIT, environment=process_environment(client.stack.settings, *SETTINGS))
    finally:
        await client.break_stripe({})

    assert (code, output.decode().count("holds")) == (0, len(CHECKS))


@pytest.mark.parametrize(
    ("setting", "value", "not_checked", "in_part"),
    [
        ("kafka_bootstrap", "127.0.0.1:1", [], [5]),
        ("temporal_address", "127.0.0.1:1", [6], [1]),
        ("stripe_api_base", "http://127.0.0.1:1", [7], [2]),
    ],
)
async def test_the_audit_checks_what_it_can_while_somebody_is_away(
    client: StackClient, paid: PaidOrder, setting: str, value: str, not_checked: list[int], in_part: list[int]
) -> None:
    settings = client.stack.settings.model_copy(update={setting: value})

    code, output, errors = await run_command(*AUDIT, "--json", environment=process_environment(settings, *SETTINGS))

    report = json.loads(output)
    by_result = {
        result: [one["number"] for one in report["invariants"] if one["result"] == result]
        for result in ("broken", "not checked", "in part")
    }
    assert (code, errors) == (3, b"")
    assert by_result == {"broken": [], "not checked": not_checked, "in part": in_part}
    assert len(report["unread"]) == 1
    assert report["orders"] >= 1


async def run_command(*command: str, environment: Mapping[str, str] | None = None) -> tuple[int | None, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return process.returncode, output, errors


async def test_the_history_as_temporal_shows_it_replays(client: StackClient, paid: PaidOrder, tmp_path: Path) -> None:
    await until(client.workflow(paid.id).describe, lambda run: run.status is not WorkflowExecutionStatus.RUNNING)
    temporal = str(Path(sys.executable).parent / "temporal")
    show = [temporal, "workflow", "show", "-w", f"order-{paid.id}", "--output", "json"]
    code, history, errors = await run_command(*show, "--address", client.stack.endpoints.temporal)
    assert code == 0, errors.decode()
    whole, lacking = tmp_path / "whole.json", tmp_path / "lacking.json"
    whole.write_bytes(history)
    events = json.loads(history)["events"]
    step = next(event for event in events if event["eventType"] == "EVENT_TYPE_MARKER_RECORDED")
    lacking.write_text(json.dumps({"events": [event for event in events if event is not step]}))

    replay = [sys.executable, "-m", "cli.main", "replay"]
    replayed, diverged = await run_command(*replay, str(whole)), await run_command(*replay, str(lacking))

    assert replayed == (0, b"1 history, 1 replay\n", b"")
    assert diverged[0] == 1
    assert diverged[1].startswith(f"{lacking}: does not replay\n".encode())


async def test_anothers_order_answers_like_one_that_does_not_exist(client: StackClient, paid: PaidOrder) -> None:
    stranger = await client.sign_up()
    missing_id = new_id()

    others = await client.gateway.get(f"/v1/orders/{paid.id}", headers=stranger.token)
    missing = await client.gateway.get(f"/v1/orders/{missing_id}", headers=stranger.token)

    assert others.status_code == missing.status_code == 404
    assert others.headers["content-type"] == missing.headers["content-type"] == "application/problem+json"
    assert others.text.replace(paid.id, "ID") == missing.text.replace(missing_id, "ID")


def success_of(order: Json) -> str:
    """The event by which Stripe would tell that the order is paid."""
    intent = {
        "id": order["client_secret"].split("_secret_")[0],
        "object": "payment_intent",
        "status": "succeeded",
        "metadata": {"app": "ordersaga", "order_id": order["id"], "payment_id": order["payment_id"]},
    }
    event = {
        "id": f"evt_{new_id()}",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": intent},
    }
    return json.dumps(event)


def sign(body: str, *, secret: str, age: int = 0) -> str:
    """A Stripe-Signature header made so many seconds ago."""
    timestamp = int(time.time()) - age
    return str(stripe.WebhookSignature.generate_signature_header(body, secret=secret, timestamp=timestamp))


@pytest.mark.parametrize(
    ("flaw", "problem"),
    [
        ("bad signature", "bad-webhook-signature"),
        ("old signature", "bad-webhook-signature"),
        ("no signature", "bad-webhook-signature"),
        ("[]", "bad-webhook-body"),
        ("{}", "bad-webhook-body"),
    ],
)
async def test_a_webhook_that_stripe_did_not_send_changes_nothing(client: StackClient, flaw: str, problem: str) -> None:
    customer = await client.sign_up()
    body = order_of(await client.add_product(), quantity=1)
    order = (await client.place(customer, body, key=new_id())).json()
    secret = client.stack.settings.stripe_webhook_secrets[0]
    event = success_of(order)
    content, signature = {
        "bad signature": (event, sign(event, secret="whsec_somebody")),
        "old signature": (event, sign(event, secret=secret, age=301)),
        "no signature": (event, None),
    }.get(flaw, (flaw, sign(flaw, secret=secret)))
    headers = {} if signature is None else {"Stripe-Signature": signature}

    answer = await client.gateway.post("/webhooks/stripe", content=content, headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["type"] == f"urn:ordersaga:problem:{problem}"
    assert await client.read_order(customer, order["id"]) == order
    assert client.stored_provider_events() <= await client.provider_events()


async def test_a_waiting_order_tells_on_call_what_it_waits_for_and_until_when(client: StackClient) -> None:
    customer = await client.sign_up()
    body = order_of(await client.add_product(), quantity=1)
    order = (await client.place(customer, body, key=new_id())).json()

    # what the Web UI shows under User Metadata
    metadata = await client.workflow(order["id"]).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)

    deadline = datetime.fromisoformat(order["payment_deadline"])
    assert "waiting for the customer to pay **12.50 EUR**" in metadata.current_details
    assert f"until **{deadline:%Y-%m-%d %H:%M:%S} UTC**" in metadata.current_details


async def test_the_web_ui_answers(client: StackClient) -> None:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as browser:
        answer = await browser.get(client.stack.endpoints.temporal_ui)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_endpoints_json_says_where_everything_is(client: StackClient) -> None:
    written = json.loads((client.var / "endpoints.json").read_text())

    urls = [written.pop(name) for name in ("gateway", "temporal_ui", "stripe", "mailbox")]
    addresses = [written.pop(name) for name in ("temporal", "kafka", "smtp")] + list(written["grpc"].values())
    assert [url for url in urls if not re.fullmatch(r"http://127\.0\.0\.1:\d+", url)] == []
    assert [address for address in addresses if not re.fullmatch(r"127\.0\.0\.1:\d+", address)] == []
    assert written.keys() == {"grpc", "postgres", "probes", "accounts", "processes"}
    assert written["grpc"].keys() == written["postgres"].keys() == SERVICES
    assert [dsn for dsn in written["postgres"].values() if not dsn.startswith("postgresql://")] == []
    assert {role: account.keys() for role, account in written["accounts"].items()} == {"admin": {"email", "password"}}
    assert written["processes"].keys() == OUR_PROCESSES | {"postgres", "temporal", "kafka"}
    worker = written["processes"].pop("order-worker")
    assert worker not in written["processes"].values()


async def test_every_part_answers_its_probes_off_the_public_port(client: StackClient) -> None:
    probes = client.stack.endpoints.probes
    assert probes.keys() == SERVICES | {"gateway", "relay", "order-worker"}
    async with httpx.AsyncClient(trust_env=False) as http:
        ready = {part: (await http.get(f"{url}/readyz")).json()["parts"][part] for part, url in probes.items()}
        metrics = await http.get(f"{probes['order-worker']}/metrics")

    assert {part: report for part, report in ready.items() if not report["ready"] or report["degraded"]} == {}
    assert metrics.text.startswith("# HELP")
    assert [(await client.gateway.get(path)).status_code for path in ("/livez", "/readyz", "/metrics")] == [404] * 3


async def test_nothing_that_the_parts_use_has_a_problem_and_what_is_missing_is_named(client: StackClient) -> None:
    settings = client.stack.settings
    elsewhere = settings.model_copy(update={"temporal_namespace": "elsewhere"})

    temporal = await find_temporal_problem(await connect_temporal(settings))
    no_namespace = await find_temporal_problem(await connect_temporal(elsewhere))
    kafka = await find_missing_topics(settings, topics=TOPICS)
    no_topic = await find_missing_topics(settings, topics=["nowhere", *TOPICS])

    assert (temporal, kafka) == (None, None)
    assert no_namespace == "Temporal has no namespace elsewhere; run `ordersaga setup temporal`"
    assert no_topic == "Kafka: topic nowhere is missing; run `ordersaga setup kafka`"
