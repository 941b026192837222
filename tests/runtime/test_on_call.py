"""What every service answers to people on call, over gRPC: its own concerns, its outbox's, and who sees what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import grpc.aio
import pytest
import pytest_asyncio

from domain.concerns import WAITING_STEP, ConcernKind
from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.oncall.v1 import on_call_pb2 as pb
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceStub
from ordersaga.product.v1 import product_pb2
from ordersaga.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.database import Database
from runtime.identity import Part
from runtime.on_call import Concern, OrderRecord, Section, TimelineEntry, on_call_service
from runtime.refusal import CallRefused
from runtime.rpc_server import GrpcService
from services.product.server import ProductServicer
from tests.support.rpc import call, open_callers, serving

ADA = Caller(CallerRole.OPERATOR, "ada")
AT = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)


class Spoken:
    """Says what a test wants it to."""

    def __init__(self) -> None:
        self.concerns: list[Concern] = []
        self.record: OrderRecord | None = None

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        return self.concerns

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        return self.record


def waiting(number: int) -> Concern:
    """An event that does not get through."""
    return Concern(
        kind=ConcernKind.EVENT, subject_id=f"evt_{number}", step=WAITING_STEP, cause="it fails", since=AT, attempts=3
    )


def product_service() -> GrpcService:
    """Any service, beside which it is served; nothing stands behind it."""
    descriptor = product_pb2.DESCRIPTOR.services_by_name["ProductService"]
    return GrpcService(descriptor, object.__new__(ProductServicer), add_ProductServiceServicer_to_server)


@pytest_asyncio.fixture
async def database(databases: Mapping[str, str]) -> AsyncIterator[Database]:
    database = Database(databases["product"], pool_size=2)
    async with database.autocommit() as connection:
        await connection.execute("DELETE FROM outbox")
    yield database
    await database.close()


@pytest.fixture
def spoken() -> Spoken:
    return Spoken()


@pytest_asyncio.fixture
async def stub(database: Database, spoken: Spoken) -> AsyncIterator[OnCallServiceStub]:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            serving(product_service(), on_call_service(Part.PRODUCT, database, spoken))
        )
        channel: grpc.aio.Channel = await stack.enter_async_context(open_callers(Part.PRODUCT, address))
        yield OnCallServiceStub(channel)


async def concerns(stub: OnCallServiceStub, *, most: int = 10, older_than: int = 60) -> list[pb.Concern]:
    request = pb.ListConcernsRequest(older_than_seconds=older_than, most=most)
    return list((await call(stub.ListConcerns, request, caller=SERVICE)).concerns)


async def describe(stub: OnCallServiceStub, caller: Caller) -> pb.DescribeOrderResponse:
    return await call(stub.DescribeOrder, pb.DescribeOrderRequest(order_id=new_id()), caller=caller)


async def add_events(database: Database, count: int, *, age: timedelta, published: bool = False) -> None:
    async with database.autocommit() as connection:
        await connection.execute(
            """
            INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at, published_at)
            SELECT 'product-events', 'k', gen_random_uuid()::text, 'product.created', 1, '{}', '', now() - %(age)s,
                   CASE WHEN %(published)s THEN now() END
              FROM generate_series(1, %(count)s)
            """,
            count=count,
            age=age,
            published=published,
        )


async def test_a_concern_is_told_with_all_that_it_says(stub: OnCallServiceStub, spoken: Spoken) -> None:
    spoken.concerns = [waiting(1)]

    [told] = await concerns(stub)

    assert (told.kind, told.subject_id, told.step) == (pb.CONCERN_KIND_EVENT, "evt_1", WAITING_STEP)
    assert (told.cause, told.attempts, told.order_id, told.last_error) == ("it fails", 3, "", "")
    assert told.since.ToDatetime(tzinfo=UTC) == AT


async def test_of_more_than_can_be_told_the_last_one_says_so(stub: OnCallServiceStub, spoken: Spoken) -> None:
    spoken.concerns = [waiting(number) for number in range(3)]

    told = await concerns(stub, most=2)

    assert [(each.subject_id, each.cause) for each in told] == [
        ("evt_0", "it fails"),
        ("evt_1", "it fails (and more like it)"),
    ]


async def test_an_outbox_that_stands_still_is_told_with_how_much_waits_since_when(
    stub: OnCallServiceStub, database: Database
) -> None:
    await add_events(database, 2, age=timedelta(minutes=3))
    await add_events(database, 5, age=timedelta(hours=1), published=True)
    began = datetime.now(UTC)

    [told] = await concerns(stub)

    assert (told.kind, told.subject_id, told.step) == (pb.CONCERN_KIND_PART, "relay", "outbox product")
    assert told.cause == "2 event(s) of the product service wait for Kafka"
    assert abs(began - timedelta(minutes=3) - told.since.ToDatetime(tzinfo=UTC)) < timedelta(minutes=1)


async def test_events_that_have_just_come_are_not_told(stub: OnCallServiceStub, database: Database) -> None:
    await add_events(database, 3, age=timedelta(0))

    assert await concerns(stub) == []


async def test_an_operator_sees_the_tables_and_the_whole_timeline_and_a_customer_their_part_of_their_own(
    stub: OnCallServiceStub, spoken: Spoken
) -> None:
    customer = Caller(CallerRole.CUSTOMER, new_id())
    spoken.record = OrderRecord(
        user_id=customer.id,
        sections=[Section("things", ("name", "at", "done", "why"), [("a", AT, True, None)])],
        timeline=[
            TimelineEntry(at=AT, type="thing.made", text="it was made", for_customer=True),
            TimelineEntry(at=AT, type="thing.mended", text="it was mended", actor="operator:ada", note="broken"),
        ],
    )

    to_operator, to_customer = await describe(stub, ADA), await describe(stub, customer)
    to_another = await describe(stub, Caller(CallerRole.CUSTOMER, new_id()))

    [things] = to_operator.sections
    assert (things.title, list(things.columns)) == ("things", ["name", "at", "done", "why"])
    assert [list(row.values) for row in things.rows] == [["a", "2026-11-22 09:05:00", "yes", ""]]
    assert [entry.type for entry in to_operator.timeline] == ["thing.made", "thing.mended"]
    assert (to_operator.timeline[1].actor, to_operator.timeline[1].note) == ("operator:ada", "broken")
    assert [entry.type for entry in to_customer.timeline] == ["thing.made"]
    assert not to_customer.sections
    assert to_another == pb.DescribeOrderResponse()


async def test_of_an_order_that_it_does_not_know_it_says_nothing(stub: OnCallServiceStub) -> None:
    assert await describe(stub, ADA) == pb.DescribeOrderResponse()


async def test_a_bad_request_names_every_field(stub: OnCallServiceStub) -> None:
    with pytest.raises(CallRefused) as listed:
        await concerns(stub, most=501, older_than=-1)
    with pytest.raises(CallRefused) as described:
        await call(stub.DescribeOrder, pb.DescribeOrderRequest(order_id="1"), caller=ADA)

    assert (listed.value.refusal, set(listed.value.details)) == (
        Refusal.INVALID_ARGUMENT,
        {"older_than_seconds", "most"},
    )
    assert set(described.value.details) == {"order_id"}
