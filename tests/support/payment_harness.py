"""What the payment tests share: the service on a real database, driven against the Stripe double."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import stripe
from msgspec.structs import replace

from domain.ids import new_id
from domain.refunds import RefundStatus
from runtime.database import Database
from runtime.settings import Settings
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.clock import Clock
from sandbox.stripe.disputes import BalanceTransaction
from sandbox.stripe.disputes import Dispute as StripeDispute
from sandbox.stripe.objects import Charge, ChargeStatus, Intent, IntentStatus
from sandbox.stripe.server import StripeDouble
from services.payment.bootstrap import PaymentComponents, bootstrap
from services.payment.follow_ups import FollowUps
from services.payment.inbox import Inbox
from services.payment.intake import EventIntake
from services.payment.model import Dispute, NewPayment, NewRefund, Payment, Refund
from services.payment.refund_service import RefundService, Requested
from services.payment.sagas import SignalUndelivered
from services.payment.service import PaymentService
from services.payment.stripe_client import StripeClient
from services.payment.sweep import Sweep
from tests.support.stripe_double import API_KEY, WEBHOOK_SECRET, open_account, sdk

PREVIOUS_SECRET = "whsec_previous"
ADMIN = new_id()


@dataclass
class SagaRecorder:
    """Stands for Temporal: keeps what it was told, or is down."""

    taken: list[tuple[str, str]] = field(default_factory=list)
    """Order and event of each signal to an order's saga."""
    refunds: list[tuple[str, bool]] = field(default_factory=list)
    """Each refund that was to be followed, and whether there were news."""
    disputes: list[tuple[str, bool]] = field(default_factory=list)
    """Likewise."""
    down: bool = False
    followed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a refund was to be followed."""

    async def payment_changed(self, *, order_id: str, event_id: str) -> None:
        self._check()
        self.taken.append((order_id, event_id))

    async def follow_refund(self, *, refund_id: str, order_id: str, has_news: bool) -> None:
        self._check()
        self.refunds.append((refund_id, has_news))
        self.followed.set()

    async def follow_dispute(self, *, dispute_id: str, order_id: str, has_news: bool) -> None:
        self._check()
        self.disputes.append((dispute_id, has_news))

    def orders(self) -> set[str]:
        return {order_id for order_id, _ in self.taken}

    def _check(self) -> None:
        if self.down:
            raise SignalUndelivered("Temporal: UNAVAILABLE")


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
        "why": "arrived broken",
        **changes,
    }
    return NewRefund(**values)


async def run_sagas(parts: PaymentComponents, order_id: str) -> Payment:
    """Do what the sagas of the payment's refunds do as far as they get by themselves; the payment after it.

    Each is carried out, and closed unless Stripe is not done with it or it needs a person.
    """
    done = set[str]()
    while True:
        payment = await parts.payments.check(order_id, refresh=False)
        due = [refund.id for refund in payment.refunds if refund.saga_open and refund.id not in done]
        if not due:
            return payment
        done.update(due)
        for refund_id in due:
            refund = (await parts.refunds.carry_out(refund_id)).get_refund(refund_id)
            if refund.status is not RefundStatus.PENDING and not refund.status.has_failed:
                await parts.refunds.close(refund_id, version=refund.version)


@dataclass(kw_only=True)
class PaymentHarness:
    """One payment service, and Stripe's side of the story.

    Attributes:
        settings: of this process of the service, and of others beside it.
        parts: its components; of these nothing runs by itself but what wakes the requests that wait.
    """

    settings: Settings
    parts: PaymentComponents
    sagas: SagaRecorder
    sdk: stripe.StripeClient
    browser: httpx.AsyncClient
    account: StripeAccount
    stack: AsyncExitStack
    _beside: list[PaymentComponents] = field(default_factory=list)

    @property
    def database(self) -> Database:
        """Its database."""
        return self.parts.database

    @property
    def client(self) -> StripeClient:
        """Its side of Stripe."""
        return self.parts.stripe

    @property
    def inbox(self) -> Inbox:
        """What processes Stripe's events."""
        return self.parts.inbox

    @property
    def intake(self) -> EventIntake:
        """What stores them."""
        return self.parts.webhooks

    @property
    def sweep(self) -> Sweep:
        """What lists them."""
        return self.parts.sweep

    @property
    def service(self) -> PaymentService:
        """Its payments."""
        return self.parts.payments

    @property
    def refund_service(self) -> RefundService:
        """Its refunds."""
        return self.parts.refunds

    @property
    def follow_ups(self) -> FollowUps:
        """What keeps its workflows going."""
        return self.parts.follow_ups

    async def stored(self, payment: Payment) -> Payment:
        """The payment as it is stored by now."""
        return await self.service.check(payment.order_id, refresh=False)

    async def another_process(self, **changes: Any) -> PaymentComponents:
        """A second process, which shares nothing but the database, Stripe and Temporal; its settings may differ."""
        settings = self.settings.model_copy(update=changes)
        return await self.stack.enter_async_context(
            bootstrap(settings, database=self.database, stripe_http=self.client.http, sagas=self.sagas)
        )

    async def give_back(self, payment: Payment) -> Payment:
        """Do what the sagas of the payment's refunds do: carry each out, and close what is done."""
        return await run_sagas(self.parts, payment.order_id)

    async def request(
        self, payment: Payment, amount: int | None = None, *, key: str = "", wait: float = 0, **changes: Any
    ) -> Requested:
        """An admin asks for a refund, with a key of its own unless one is given."""
        new = new_refund(payment, amount, **changes)
        return await self.refund_service.request(new, idempotency_key=key or new_id(), wait=wait)

    async def refunded(self, payment: Payment, amount: int | None = None) -> Refund:
        """A refund that an admin asked for, carried out as far as it gets."""
        requested = await self.request(payment, amount)
        return (await self.give_back(payment)).get_refund(requested.refund.id)

    async def two_processes(self) -> Sequence[PaymentComponents]:
        """Two processes beside this one, the same each time."""
        while len(self._beside) < 2:
            self._beside.append(await self.another_process())
        return self._beside

    async def service_that_stripe_refuses(self) -> PaymentService:
        """One whose setting of payment method types Stripe does not know."""
        return (await self.another_process(stripe_payment_method_types=["shells"])).payments

    async def opened(self, payment_method: str | None = None, **changes: Any) -> Payment:
        """A payment that is open."""
        return await self.service.open(new_payment(payment_method=payment_method, **changes))

    async def break_api(self, *operations: str, **faults: Any) -> None:
        """Let these calls go wrong from here on."""
        await self._set_faults({"api": {**faults, "operations": operations}})

    async def mend_api(self) -> None:
        """Let every call go well again."""
        await self._set_faults({})

    async def _set_faults(self, faults: dict[str, Any]) -> None:
        answer = await self.browser.post("/_sandbox/faults", content=msgspec.json.encode(faults))
        answer.raise_for_status()

    async def customer_pays(self, payment: Payment, payment_method: str) -> httpx.Response:
        """What the customer's browser does with the client secret."""
        intent = await self.sdk.v1.payment_intents.retrieve_async(payment.intent_id or "")
        return await self.browser.post(
            f"/v1/payment_intents/{intent.id}/confirm",
            headers={"Authorization": "Bearer pk_test_shop", "Content-Type": "application/x-www-form-urlencoded"},
            content=f"payment_method={payment_method}&client_secret={intent.client_secret}",
        )

    async def authentication_fails(self, payment: Payment) -> None:
        """What happens on the page of the customer's bank."""
        page = f"/_sandbox/payment_intents/{payment.intent_id}/authenticate"
        (await self.browser.post(page, json={"outcome": "fail"})).raise_for_status()

    async def intents(self, order_id: str) -> list[stripe.PaymentIntent]:
        """The order's intents at Stripe."""
        page = await self.sdk.v1.payment_intents.list_async({"limit": 100})
        return [intent for intent in page.data if intent.metadata.to_dict().get("order_id") == order_id]

    async def refunds(self, payment: Payment) -> list[stripe.Refund]:
        """The payment's refunds at Stripe."""
        stored = await self.stored(payment)
        page = await self.sdk.v1.refunds.list_async({"payment_intent": stored.intent_id or "", "limit": 100})
        return list(page.data)

    async def refund_in_dashboard(self, payment: Payment, amount: int | None = None) -> stripe.Refund:
        """Somebody gives money back in Stripe's dashboard: all that is left without an amount."""
        wish: Any = {"payment_intent": payment.intent_id or ""}
        if amount is not None:
            wish["amount"] = amount
        return await self.sdk.v1.refunds.create_async(wish)

    async def move_refund(self, stripe_refund_id: str | None, status: str, **wish: str) -> None:
        """Stripe, or the customer's bank, does this to a refund."""
        await self._switch(f"refunds/{stripe_refund_id}", status=status, **wish)

    async def dispute(self, payment: Payment, **wish: Any) -> str:
        """The customer goes to their bank: a chargeback of what is left, or as it is wished; the dispute's id."""
        [charge] = [charge for charge in await self.charges(payment) if charge.status == "succeeded"]
        opened: str = (await self._switch(f"charges/{charge.id}/dispute", **wish))["id"]
        return opened

    async def move_dispute(self, dispute_id: str, status: str) -> None:
        """The customer's bank, or Stripe, does this to a dispute."""
        await self._switch(f"disputes/{dispute_id}", status=status)

    async def the_dispute(self, payment: Payment) -> Dispute:
        """The one dispute of a payment as it is stored."""
        [dispute] = (await self.stored(payment)).disputes
        return dispute

    async def _switch(self, path: str, **wish: Any) -> Any:
        answer = await self.browser.post(f"/_sandbox/{path}", json=wish)
        answer.raise_for_status()
        return answer.json()

    async def charges(self, payment: Payment) -> list[stripe.Charge]:
        """The payment's charges at Stripe, paid or failed."""
        page = await self.sdk.v1.charges.list_async({"payment_intent": payment.intent_id or "", "limit": 100})
        return list(page.data)

    async def webhook_bodies(self, *types: str) -> list[bytes]:
        """The bodies of the webhooks that Stripe owes, of these types or all, oldest first."""
        page = await self.sdk.v1.events.list_async({"limit": 100})
        events = [event.to_dict(for_json=True) for event in reversed(page.data)]
        return [msgspec.json.encode(event) for event in events if not types or event["type"] in types]

    async def deliver(self, bodies: Sequence[bytes]) -> None:
        """Send webhooks, well signed."""
        for body in bodies:
            await self.intake.receive_webhook(body=body, signature=sign(body))

    async def hear(self, *types: str) -> None:
        """All events of these types come in, once more if they were here before, and are worked off."""
        await self.deliver(await self.webhook_bodies(*types))
        await self.inbox.work_off_due()

    async def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """What a query finds in the service's database."""
        async with self.database.autocommit() as connection:
            return await connection.fetch_all(dict, statement, **parameters)

    def forget_intent(self, intent_id: str) -> None:
        """As if Stripe had failed before it made the intent."""
        self.account.remove(intent_id)

    def forget_charges(self, intent_id: str) -> None:
        """As if Stripe had failed before it charged anything."""
        for charge in self.account.all(Charge, list_key=intent_id):
            self.account.remove(charge.id)
        intent = self.account.get(Intent, intent_id)
        unpaid = replace(intent, status=IntentStatus.REQUIRES_PAYMENT_METHOD, amount_received=0, latest_charge=None)
        self.account.overwrite(unpaid)

    def forget_refund(self, refund_id: str, charge_id: str) -> None:
        """As if Stripe had failed before it made the refund."""
        self.account.remove(refund_id)
        self.account.overwrite(replace(self.account.get(Charge, charge_id), amount_refunded=0, refunded=False))

    def refuse_refunds(self, charge: stripe.Charge) -> None:
        """Let Stripe refuse every refund of the charge from here on."""
        self.account.overwrite(replace(self.account.get(Charge, charge.id), status=ChargeStatus.FAILED))

    def move_in_currency(self, dispute_id: str, currency: str, *amounts: int) -> None:
        """Let the money of a dispute have moved in the currency that the account settles in."""
        moved = [
            BalanceTransaction(
                id=f"txn_{number}",
                amount=amount,
                net=amount,
                currency=currency,
                created=1_790_000_000,
                source=dispute_id,
            )
            for number, amount in enumerate(amounts)
        ]
        dispute = self.account.get(StripeDispute, dispute_id)
        self.account.overwrite(replace(dispute, balance_transactions=moved))

    def forget_dispute(self, charge: stripe.Charge) -> None:
        """Let the charge be disputed once more, as banks allow though rarely."""
        self.account.overwrite(replace(self.account.get(Charge, charge.id), disputed=False))

    def allow_refunds(self, charge: stripe.Charge) -> None:
        """Let it refuse no more."""
        self.account.overwrite(replace(self.account.get(Charge, charge.id), status=ChargeStatus.SUCCEEDED))

    async def change_intent(self, payment: Payment, *, currency: str, amount: int) -> None:
        """Somebody changes an intent that is not paid yet with the secret key."""
        changes: stripe.params.PaymentIntentUpdateParams = {"currency": currency, "amount": amount}
        await self.sdk.v1.payment_intents.update_async(payment.intent_id or "", changes)

    def forget_keys(self) -> None:
        """As Stripe does after a day."""
        self.account.forget_keys()

    def forget_everything(self) -> None:
        """As if nothing had ever happened at Stripe: what lists all there is then tells of the one order alone."""
        self.account.clear()

    async def due_again(self) -> None:
        """As if the pause before an event's next attempt, or the lease of a dead process, were over."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE provider_events SET next_attempt_at = now() WHERE status = 'RECEIVED'")

    async def look_now(self) -> None:
        """As if it were time for the sweep to look at every open refund and dispute."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE refunds SET next_look_at = now()")
            await connection.execute("UPDATE disputes SET next_look_at = now()")

    async def unwoken(self) -> list[str]:
        """Open refunds and disputes whose workflow has not been told how they stand."""
        rows = await self.rows(
            """
            SELECT id::text FROM refunds WHERE saga_open AND woken_version < version
            UNION ALL SELECT id FROM disputes WHERE saga_open AND woken_version < version
            """
        )
        return [row["id"] for row in rows]

    async def empty_inbox(self) -> None:
        """It is worked off and swept as a whole, so what another test left would show up."""
        async with self.database.autocommit() as connection:
            await connection.execute("DELETE FROM provider_events")
            await connection.execute("DELETE FROM event_sweep")
            await connection.execute("UPDATE refunds SET saga_open = false")
            await connection.execute("UPDATE disputes SET saga_open = false")

    async def age_generation(self, order_id: str, age: timedelta) -> None:
        """As if the payment's present keys had been used for so long."""
        async with self.database.autocommit() as connection:
            await connection.execute(
                "UPDATE payments SET generation_at = generation_at - %(age)s WHERE order_id = %(id)s",
                age=age,
                id=order_id,
            )

    async def published(self, order_id: str) -> list[tuple[str, int, dict[str, Any]]]:
        """Type, number and data of the order's events in the outbox."""
        rows = await self.rows("SELECT ce_type, ce_seq, data FROM outbox WHERE key = %(key)s ORDER BY id", key=order_id)
        return [(row["ce_type"], row["ce_seq"], msgspec.json.decode(row["data"])) for row in rows]

    async def event_statuses(self) -> dict[str, str]:
        """Type to status of the stored events."""
        rows = await self.rows("SELECT type, status FROM provider_events")
        return {row["type"]: row["status"] for row in rows}


def sign(body: bytes, *, secret: str = WEBHOOK_SECRET, age: int = 0) -> str:
    """The Stripe-Signature header of a body."""
    at = int(time.time()) - age
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


@asynccontextmanager
async def payment_harness(dsn: str, folder: Path, **changes: Any) -> AsyncIterator[PaymentHarness]:
    """A payment service with a Stripe of its own, and these settings."""
    async with AsyncExitStack() as stack:
        # A test says itself when refunds change.
        account = stack.enter_context(open_account(folder=folder, clock=Clock(), late_after=None))
        double = await stack.enter_async_context(StripeDouble(account))
        settings = Settings.model_validate({**payment_settings(dsn, stripe_api_base=double.url), **changes})
        sagas = SagaRecorder()
        parts = await stack.enter_async_context(bootstrap(settings, sagas=sagas))
        await stack.enter_async_context(parts.listener)
        harness = PaymentHarness(
            settings=settings,
            parts=parts,
            sagas=sagas,
            sdk=await stack.enter_async_context(sdk(double)),
            account=account,
            browser=await stack.enter_async_context(httpx.AsyncClient(base_url=double.url)),
            stack=stack,
        )
        await harness.empty_inbox()
        yield harness


def payment_settings(dsn: str, *, stripe_api_base: str) -> dict[str, Any]:
    """The settings of a payment service on this database and this Stripe."""
    return {
        "payment_dsn": dsn,
        "stripe_api_key": API_KEY,
        "stripe_api_base": stripe_api_base,
        "stripe_timeout": 5,
        "stripe_payment_method_types": ["card", "sepa_debit"],
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "stripe_webhook_secret_previous": PREVIOUS_SECRET,
    }
