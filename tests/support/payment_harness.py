"""The payment service on a real database, in front of a Stripe account of its own, driven step by step."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import stripe

from domain.ids import new_id
from domain.refunds import RefundStatus
from runtime.database import Database
from runtime.settings import Settings
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.clock import Clock
from sandbox.stripe.in_process import InProcessClient
from sandbox.stripe.server import StripeDouble
from services.payment.bootstrap import PaymentComponents, bootstrap
from services.payment.payments.model import Dispute, NewPayment, Payment, Refund
from services.payment.payments.service import PaymentService
from services.payment.payments.store import PaymentStore
from services.payment.refunds.model import NewRefund, RequestedRefund
from services.payment.refunds.service import RefundService
from services.payment.stripe.client import StripeClient
from tests.support.background import running
from tests.support.identities import tls_settings
from tests.support.saga_recorder import SagaRecorder
from tests.support.stripe_calls import StripeCalls
from tests.support.stripe_double import API_KEY, WEBHOOK_SECRET, in_process_sdk, open_account
from tests.support.stripe_side import StripeSide

PREVIOUS_SECRET = "whsec_previous"
ADMIN = new_id()


def new_payment(**changes: Any) -> NewPayment:
    """A payment of 25.99 EUR for a new order, to be paid by the customer, or as the changes say."""
    values = {
        "id": new_id(),
        "order_id": new_id(),
        "user_id": new_id(),
        "amount": 2_599,
        "currency": "EUR",
        "payment_method": None,
        **changes,
    }
    return NewPayment(**values)


def new_refund(payment: Payment, amount: int | None = None, **changes: Any) -> NewRefund:
    """What an admin asks to give back of a payment; without an amount, all that is left."""
    values = {
        "order_id": payment.order_id,
        "amount": amount,
        "restock": (),
        "ordered": changes.get("restock", ()),
        "requested_by": ADMIN,
        "note": "arrived broken",
        **changes,
    }
    return NewRefund(**values)


async def run_sagas(components: PaymentComponents, order_id: str) -> Payment:
    """Do what the sagas of the payment's refunds do as far as they get by themselves; the payment after it.

    Each is started, carried out, and closed unless Stripe is not done with it or it needs a person.
    """
    done = set[str]()
    while True:
        await components.refund_follow_ups.process_due()
        payment = await components.payments.check(order_id, refresh=False)
        due = [refund.id for refund in payment.refunds if refund.saga_open and refund.id not in done]
        if not due:
            return payment
        done.update(due)
        for refund_id in due:
            refund = (await components.refunds.carry_out(refund_id)).get_refund(refund_id)
            if refund.status is not RefundStatus.PENDING and not refund.status.has_failed:
                await components.refunds.close(refund_id, version=refund.version)


@dataclass(kw_only=True)
class PaymentHarness(StripeSide):
    """One payment service, and Stripe's side of the story.

    Attributes:
        settings: of this process of the service, and of others beside it.
        components: of the service; of these nothing runs by itself but what wakes the requests that wait.
        sagas: in the place of Temporal.
        calls: of Stripe, unless they are made over HTTP.
    """

    settings: Settings
    components: PaymentComponents
    sagas: SagaRecorder
    account: StripeAccount
    calls: StripeCalls
    sdk: stripe.StripeClient
    stack: AsyncExitStack
    _beside: list[PaymentComponents] = field(default_factory=list)

    @property
    def database(self) -> Database:
        """The service's database."""
        return self.components.database

    @property
    def client(self) -> StripeClient:
        """The service's client of Stripe."""
        return self.components.stripe

    @property
    def store(self) -> PaymentStore:
        """The service's payments as they are stored."""
        return self.components.store

    @property
    def service(self) -> PaymentService:
        """The service's payments."""
        return self.components.payments

    @property
    def refund_service(self) -> RefundService:
        """The service's refunds."""
        return self.components.refunds

    async def stored(self, payment: Payment) -> Payment:
        """The payment as it is stored by now."""
        return await self.service.check(payment.order_id, refresh=False)

    async def another_process(self, **changes: Any) -> PaymentComponents:
        """A second process, which shares nothing but the database, Stripe and Temporal; its settings may differ."""
        settings = self.settings.model_copy(update=changes)
        return await self.stack.enter_async_context(
            bootstrap(settings, database=self.database, stripe_http=self.client.http, sagas=self.sagas)
        )

    async def two_processes(self) -> Sequence[PaymentComponents]:
        """Two processes beside this one, the same each time."""
        while len(self._beside) < 2:
            self._beside.append(await self.another_process())
        return self._beside

    async def service_that_stripe_refuses(self) -> PaymentService:
        """One whose setting of payment method types Stripe does not know."""
        return (await self.another_process(stripe_payment_method_types=["shells"])).payments

    # What callers and sagas do

    async def opened(self, payment_method: str | None = None, **changes: Any) -> Payment:
        """A payment that is open."""
        return await self.service.open(new_payment(payment_method=payment_method, **changes))

    async def request(
        self, payment: Payment, amount: int | None = None, *, key: str = "", wait: float = 0, **changes: Any
    ) -> RequestedRefund:
        """An admin asks for a refund, with a key of its own unless one is given."""
        new = new_refund(payment, amount, **changes)
        return await self.refund_service.request(new, idempotency_key=key or new_id(), wait=wait)

    async def run_sagas(self, payment: Payment) -> Payment:
        """Do what the sagas of the payment's refunds do: carry each out, and close what is done."""
        return await run_sagas(self.components, payment.order_id)

    async def refunded(self, payment: Payment, amount: int | None = None) -> Refund:
        """A refund that an admin asked for, carried out as far as it gets."""
        requested = await self.request(payment, amount)
        return (await self.run_sagas(payment)).get_refund(requested.refund.id)

    # What runs in the background

    async def deliver(self, bodies: Sequence[bytes]) -> None:
        """Send webhooks, well signed."""
        for body in bodies:
            await self.components.webhooks.receive(body=body, signature=sign(body))

    async def hear(self, *types: str) -> None:
        """All events of these types come in, once more if they were here before, and are processed and followed up."""
        await self.deliver(await self.webhook_bodies(*types))
        await self.process_events()
        await self.follow_up()

    async def process_events(self) -> int:
        """Process the events that are due; how many those were."""
        return await self.components.inbox.process_due()

    async def sweep(self) -> None:
        """List Stripe's events; those that are new are processed and followed up."""
        await sweep(self.components)
        await self.process_events()
        await self.follow_up()

    async def follow_up(self) -> int:
        """See to the workflows of the refunds and disputes that are due; how many those were."""
        refunds = await self.components.refund_follow_ups.process_due()
        return refunds + await self.components.dispute_follow_ups.process_due()

    @asynccontextmanager
    async def following_up(self) -> AsyncIterator[None]:
        """Inside, refunds are followed up by themselves, as in the process that runs the service."""
        async with running(self.components.refund_follow_ups.run):
            yield

    async def make_events_due(self) -> None:
        """As if the pause before an event's next attempt, or the lease of a dead process, were over."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE provider_events SET next_attempt_at = now() WHERE status = 'RECEIVED'")

    async def make_follow_ups_due(self) -> None:
        """As if it were time to look after every open refund and dispute."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE refunds SET next_attempt_at = now()")
            await connection.execute("UPDATE disputes SET next_attempt_at = now()")

    async def postpone_follow_ups(self) -> None:
        """As if every open refund and dispute had just been looked after."""
        async with self.database.autocommit() as connection:
            for table in ("refunds", "disputes"):
                await connection.execute(
                    f"UPDATE {table} SET next_attempt_at = now() + interval '1 h' "  # noqa: S608 - ours
                    "WHERE next_attempt_at < now() + interval '30 min'"
                )

    # What is stored

    async def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """What a query finds in the service's database."""
        async with self.database.autocommit() as connection:
            return await connection.fetch_all(dict, statement, **parameters)

    async def refunds(self, payment: Payment) -> list[stripe.Refund]:
        """The payment's refunds at Stripe."""
        stored = await self.stored(payment)
        page = await self.sdk.v1.refunds.list_async({"payment_intent": stored.intent_id or "", "limit": 100})
        return list(page.data)

    async def the_dispute(self, payment: Payment) -> Dispute:
        """The one dispute of a payment as it is stored."""
        [dispute] = (await self.stored(payment)).disputes
        return dispute

    async def unnotified(self) -> list[str]:
        """Open refunds and disputes whose workflow does not know how they stand."""
        rows = await self.rows(
            """
            SELECT id::text FROM refunds WHERE saga_open AND notified_version < version
            UNION ALL SELECT id FROM disputes WHERE saga_open AND notified_version < version
            """
        )
        return [row["id"] for row in rows]

    async def published(self, order_id: str) -> list[tuple[str, int, dict[str, Any]]]:
        """Type, number and data of the order's events in the outbox."""
        rows = await self.rows("SELECT ce_type, ce_seq, data FROM outbox WHERE key = %(key)s ORDER BY id", key=order_id)
        return [(row["ce_type"], row["ce_seq"], msgspec.json.decode(row["data"])) for row in rows]

    async def event_statuses(self) -> dict[str, str]:
        """Type to status of the stored events."""
        rows = await self.rows("SELECT type, status FROM provider_events")
        return {row["type"]: row["status"] for row in rows}

    async def forget_due_work(self) -> None:
        """It is processed and swept as a whole, so what another test left would show up."""
        async with self.database.autocommit() as connection:
            await connection.execute("DELETE FROM provider_events")
            await connection.execute(
                "UPDATE event_sweep SET swept_until = now() - interval '10 min', next_attempt_at = now(), attempts = 0"
            )
            await connection.execute("UPDATE refunds SET saga_open = false")
            await connection.execute("UPDATE disputes SET saga_open = false")

    async def age(self, order_id: str, age: timedelta) -> None:
        """As if the order's payment, its present keys and its intents were so much older."""
        self.age_intents(order_id, age)
        async with self.database.autocommit() as connection:
            await connection.execute(
                """
                UPDATE payments SET created_at = created_at - %(age)s, generation_at = generation_at - %(age)s
                 WHERE order_id = %(id)s
                """,
                age=age,
                id=order_id,
            )


async def sweep(components: PaymentComponents) -> None:
    """List Stripe's events, as if it were time to, and the lease of a process that died meanwhile were over."""
    async with components.database.autocommit() as connection:
        await connection.execute("UPDATE event_sweep SET next_attempt_at = now()")
    await components.sweep.process_due()


def sign(body: bytes, *, secret: str = WEBHOOK_SECRET, age: int = 0) -> str:
    """The Stripe-Signature header of a body."""
    at = int(time.time()) - age
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


@asynccontextmanager
async def payment_harness(dsn: str, *, over_http: bool = False, **changes: Any) -> AsyncIterator[PaymentHarness]:
    """A payment service with a Stripe of its own, and these settings.

    Args:
        dsn: of its database.
        over_http: whether the service reaches Stripe through a socket, or in this process.
        changes: of the settings.
    """
    async with AsyncExitStack() as stack:
        # A test says itself when refunds change.
        account = stack.enter_context(open_account(clock=Clock(), late_after=None))
        calls = StripeCalls()
        http = InProcessClient(account, before=calls.begin, after=calls.end)
        double = await stack.enter_async_context(StripeDouble(account)) if over_http else None
        values = payment_settings(dsn, stripe_api_base="http://127.0.0.1:1" if double is None else double.url)
        settings = Settings.model_validate({**values, **changes})
        sagas = SagaRecorder()
        components = await stack.enter_async_context(
            bootstrap(settings, stripe_http=http if double is None else None, sagas=sagas)
        )
        await stack.enter_async_context(components.listener)
        harness = PaymentHarness(
            settings=settings,
            components=components,
            sagas=sagas,
            account=account,
            calls=calls,
            sdk=in_process_sdk(InProcessClient(account)),
            stack=stack,
        )
        await harness.forget_due_work()
        yield harness


def payment_settings(dsn: str, *, stripe_api_base: str) -> dict[str, Any]:
    """The settings of a payment service on this database and this Stripe."""
    return {
        **tls_settings(),
        "payment_dsn": dsn,
        "stripe_api_key": API_KEY,
        "stripe_api_base": stripe_api_base,
        "stripe_timeout": 5,
        "stripe_payment_method_types": ["card", "sepa_debit"],
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "stripe_webhook_secret_previous": PREVIOUS_SECRET,
        "support_refund_limit": 1_000,
    }
