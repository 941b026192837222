"""What a whole demo leaves behind: the traces that all of its processes export, and what they log.

One demo for all, with traces on. The collector is the tests' own, so the exporter is the real one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import parseaddr
from pathlib import Path

import pytest

from domain.ids import new_id
from sandbox.ports import free_port
from tests.support.client import Json
from tests.support.command import ordersaga
from tests.support.otlp_collector import CollectedSpan, Collector, collecting

OURS = ("services.log", "order-worker.log", "doubles.log")
"""The logs of processes that we wrote."""
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PAID_IN_THE_BROWSER = "declined, then paid with another card"
ENTERED = ("sandbox-password", "Demo Customer", "1 Sample Street", "Springfield", "changed my mind")
"""What the demo's customers enter, besides who they are."""
SECRET = re.compile(
    r"_secret_|\bsk_test_|\bwhsec_|\bpk_test_|\beyJ[\w-]{10}|\bpm_card_|BEGIN PRIVATE KEY|\bBearer [\w-]"
)
"""How client secrets, Stripe's keys, tokens, cards and private keys look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a demo left behind."""

    orders: Sequence[Json]
    collector: Collector
    var: Path

    def trace_of(self, scenario: str) -> list[CollectedSpan]:
        """The spans of the trace in which a scenario's order was placed."""
        order_id = next(order["order_id"] for order in self.orders if order["scenario"] == scenario)
        started = [
            span
            for span in self.collector.spans
            if span.name == "StartWorkflow:OrderSaga" and order_id in span.attributes["temporalWorkflowID"]
        ]
        return self.collector.trace(started[0].trace_id)

    def lines(self, *logs: str) -> Iterator[Json]:
        """The lines of these logs."""
        for log in logs:
            for line in (self.var / "log" / log).read_text().splitlines():
                yield json.loads(line)

    def personal(self) -> set[str]:
        """Whatever is nobody's business: who the customers are, what they entered, and all secrets."""
        mails = [message_from_bytes(path.read_bytes()) for path in (self.var / "mail").glob("*.eml")]
        people = {part for mail in mails for part in parseaddr(mail["To"]) if part}
        secrets = [
            value
            for file in ("secrets.json", "postgres-passwords.json")
            for value in _texts(json.loads((self.var / file).read_text()))
        ]
        assert len(people) > 10
        assert len(secrets) > 5
        return {*people, *secrets, *ENTERED}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ORDERSAGA_", "OTEL_"))},
        "ORDERSAGA_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
    }
    with collecting(port) as collector:
        demo = ordersaga(
            "demo", "--var", str(folder / "var"), "--json", str(folder / "report.json"), environment=environment
        )
        assert demo.returncode == 0, demo.stdout + demo.stderr
        yield Left(
            orders=json.loads((folder / "report.json").read_text())["orders"],
            collector=collector,
            var=folder / "var",
        )


def way_to(spans: Sequence[CollectedSpan], span: CollectedSpan) -> list[str]:
    """From the root of a trace to one of its spans, each with its component."""
    by_id = {each.span_id: each for each in spans}
    way = [span]
    while way[0].parent_id:
        way.insert(0, by_id[way[0].parent_id])
    return [f"{each.service}: {each.name}" for each in way]


CREATED = [
    "gateway: POST /v1/orders",
    "gateway: ordersaga.order.v1.OrderService/CreateOrder",
    "order: ordersaga.order.v1.OrderService/CreateOrder",
]
STARTED = [*CREATED, "order: StartWorkflow:OrderSaga"]


def step(name: str, method: str, *, at: str) -> list[str]:
    """The way to what a step does at a service."""
    worker = [f"order-worker: StartActivity:{name}", f"order-worker: RunActivity:{name}"]
    return [*STARTED, *worker, f"order-worker: ordersaga.{method}", f"{at}: ordersaga.{method}"]


MAILED = [
    *step("mark", "order.v1.OrderService/MarkClosed", at="order"),
    "relay: send order-events",
    "notification: process order-events",
    "notification: process notifications",
]
WAYS = {
    "the workflow": [*STARTED, "order-worker: RunWorkflow:OrderSaga"],
    "the first event": [*CREATED, "relay: send order-events", "notification: process order-events"],
    "the stock": [
        *step("reserve", "inventory.v1.InventoryService/Reserve", at="inventory"),
        "relay: send stock-events",
    ],
    "the money": [
        *step("open_payment", "payment.v1.PaymentService/OpenPayment", at="payment"),
        "payment: POST /v1/payment_intents",
    ],
    "the webhook": [*STARTED, "order-worker: HandleSignal:payment_changed"],
    "the receipt": [*MAILED, "notification: smtp send"],
    "the receipt's event": [*MAILED, "relay: send notification-events"],
    "the name on the receipt": [
        *MAILED,
        "notification: ordersaga.user.v1.UserService/GetUser",
        "user: ordersaga.user.v1.UserService/GetUser",
    ],
}


@pytest.mark.parametrize("what", WAYS)
def test_all_that_an_order_causes_is_in_its_trace(left: Left, what: str) -> None:
    trace = left.trace_of(PAID_IN_THE_BROWSER)

    assert WAYS[what] in [way_to(trace, span) for span in trace]


def test_an_orders_trace_has_one_root_and_no_gap(left: Left) -> None:
    trace = left.trace_of(PAID_IN_THE_BROWSER)
    ids = {span.span_id for span in trace}

    assert [span.name for span in trace if not span.parent_id] == ["POST /v1/orders"]
    assert [span for span in trace if span.parent_id and span.parent_id not in ids] == []
    assert len(ids) == len(trace)
    kinds = {span.name.split(" ")[0].split(":")[0]: span.kind for span in trace}
    assert (kinds["POST"], kinds["send"], kinds["process"]) == ("CLIENT", "PRODUCER", "CONSUMER")


def test_the_trace_of_a_webhook_and_that_of_its_order_are_linked_both_ways(left: Left) -> None:
    trace = left.trace_of(PAID_IN_THE_BROWSER)
    order_links = {link for span in trace if span.name == "HandleSignal:payment_changed" for link in span.links}
    processed = [
        span
        for span in left.collector.spans
        if span.name == "process provider_events" and trace[0].trace_id in {linked for linked, _ in span.links}
    ]

    webhooks = [
        (signal, left.collector.trace(span.trace_id))
        for span in processed
        for signal in left.collector.trace(span.trace_id)
        if (signal.trace_id, signal.span_id) in order_links
    ]
    assert webhooks
    signal, webhook = webhooks[0]
    assert way_to(webhook, signal) == [
        "gateway: POST /webhooks/stripe",
        "gateway: ordersaga.payment.v1.PaymentService/ReceiveWebhook",
        "payment: ordersaga.payment.v1.PaymentService/ReceiveWebhook",
        "payment: process provider_events",
        "payment: SignalWorkflow:payment_changed",
    ]


def test_what_an_order_waits_for_in_a_table_is_found_by_its_id(left: Left) -> None:
    order_id = next(order["order_id"] for order in left.orders if order["scenario"] == PAID_IN_THE_BROWSER)
    services = {span.service for span in left.collector.spans if span.attributes.get("ordersaga.order.id") == order_id}

    assert services >= {"gateway", "order", "payment", "inventory", "notification", "order-worker"}


def test_traces_tell_nothing_personal(left: Left) -> None:
    told = [f"{text}" for span in left.collector.spans for text in (span.name, *span.attributes.values(), *span.texts)]
    personal = left.personal()

    assert len(told) > 1_000
    assert [text for text in told if SECRET.search(text) or any(each in text for each in personal)] == []


def test_logs_tell_nothing_personal(left: Left) -> None:
    personal, logs = left.personal(), {log.name: log.read_text() for log in (left.var / "log").iterdir()}

    assert logs.keys() >= {*OURS, "setup.log", "postgres.log"}
    lines = [f"{name}: {line}" for name, log in logs.items() for line in log.splitlines()]
    assert [line for line in lines if SECRET.search(line) or any(each in line for each in personal)] == []


def test_each_line_about_an_order_has_its_id_and_its_trace(left: Left) -> None:
    orders = {order["order_id"] for order in left.orders}
    about = [line for line in left.lines(*OURS) if orders & set(UUID.findall(json.dumps(line)))]

    assert len(about) > 20
    assert [line for line in about if line.get("order_id") not in orders] == []
    traced = [line for line in about if line["logger"] != "temporalio.core"]  # which knows of no spans
    assert [line for line in traced if not re.fullmatch("[0-9a-f]{32}", line.get("trace_id", ""))] == []


def test_each_line_has_the_fields_that_a_log_is_searched_by(left: Left) -> None:
    lines = list(left.lines(*OURS))

    assert [line for line in lines if not {"event", "level", "logger", "timestamp"} <= line.keys()] == []
    assert [
        line for line in lines if line["logger"].startswith(("services.", "workers.")) and not line["component"]
    ] == []


def test_an_order_is_found_by_the_request_that_placed_it(left: Left) -> None:
    accepted = {line["order_id"]: line for line in left.lines("services.log") if line["event"] == "order.accepted"}
    order = next(order for order in left.orders if order["scenario"] == PAID_IN_THE_BROWSER)

    line = accepted[order["order_id"]]
    assert UUID.fullmatch(line["request_id"])
    assert line["trace_id"] == left.trace_of(PAID_IN_THE_BROWSER)[0].trace_id
    assert line["component"] == "order"


def test_the_tests_would_see_what_is_personal(left: Left) -> None:
    assert SECRET.search(f"pi_1_secret_{new_id()}")
    assert "three-bad-cards@example.test" in left.personal()
