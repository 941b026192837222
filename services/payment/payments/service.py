"""Use cases of payments. Each may be repeated at any time, and finishes what an earlier attempt began."""

from __future__ import annotations

from domain.payments import PaymentStatus
from runtime.caller import Caller
from runtime.clock import Clock
from services.payment.order_turns import OrderTurns
from services.payment.payments import decisions
from services.payment.payments.client_secrets import ClientSecrets
from services.payment.payments.errors import (
    NoSuchPayment,
    PaymentDiffers,
    PaymentNotFound,
    PaymentUnsettled,
    PaymentVoided,
)
from services.payment.payments.intents import Intents
from services.payment.payments.model import NewPayment, OpenCase, Payment, PaymentUpdate
from services.payment.payments.repository import FollowedTable
from services.payment.payments.store import PaymentStore
from services.payment.stripe.amounts import check_chargeable
from services.payment.stripe.client import StripeClient
from services.payment.stripe.errors import PaymentRejected, StripeRefused, StripeSettingRefused, StripeUnavailable


class PaymentService:
    """Payments of orders."""

    def __init__(
        self,
        store: PaymentStore,
        intents: Intents,
        stripe: StripeClient,
        secrets: ClientSecrets,
        *,
        turns: OrderTurns,
        clock: Clock,
    ) -> None:
        self._store = store
        self._intents = intents
        self._stripe = stripe
        self._secrets = secrets
        self._turns = turns
        self._clock = clock

    def check_amount(self, amount: int, currency: str) -> None:
        """Whether an order may cost so much: nothing, or what Stripe can be asked for.

        Raises:
            PaymentRejected: it may not, and why.
        """
        if amount:
            check_chargeable(amount, currency)

    async def open(self, new: NewPayment) -> Payment:
        """Open the order's payment, and try to take the money if a payment method came with it. A decline is an answer.

        A payment of nothing has succeeded with that, and Stripe never hears of it.

        Raises:
            PaymentRejected: Stripe does not take the amount or the payment method.
            PaymentVoided: the order's payment was undone.
            PaymentDiffers: the order has a payment of another customer, amount, currency or payment method.
            StripeUnavailable: repeat.
        """
        self.check_amount(new.amount, new.currency)
        async with self._turns.turn(new.order_id):
            opened = decisions.opened(new, at=self._clock())
            payment = await self._store.add(opened, update=PaymentUpdate(type="payment.created"))
            if payment.voided:
                raise PaymentVoided(new.order_id)
            if _terms(payment) != _terms(new) or new.user_id not in (payment.user_id, payment.placed_by):
                raise PaymentDiffers(new.order_id)
            if payment.closing or payment.status.is_final:
                return payment
            try:
                if payment.intent_id is None:
                    payment = await self._intents.ensure(payment)
                else:
                    payment = await self._intents.reread(payment)
                if new.payment_method is not None:
                    payment = await self._intents.confirm(payment, new.payment_method)
            except StripeSettingRefused as refused:
                raise StripeUnavailable(str(refused)) from refused
            except StripeRefused as refused:
                raise PaymentRejected(str(refused)) from refused
            return payment

    async def adopt(self, order_id: str, *, user_id: str) -> None:
        """Let an account have the payment of an order that was placed by a guest; a repeat changes nothing.

        An order without a payment has none to give. Whoever opens it once more may still name the guest.
        """
        await self._store.adopt(order_id, user_id=user_id)

    async def check(self, order_id: str, *, refresh: bool, outcome_only: bool = False) -> Payment:
        """The order's payment as it is stored or, with `refresh`, as Stripe has it now.

        Args:
            order_id: whose.
            refresh: whether Stripe is asked.
            outcome_only: whether one that succeeded a moment ago may come without what has become of it since.

        Raises:
            PaymentNotFound: the order has none.
            StripeUnavailable: repeat.
        """
        known = self._store.recall(order_id) if outcome_only and not refresh else None
        if known is not None and known.status is PaymentStatus.SUCCEEDED:  # which stays; others may not
            return known
        payment = await self._store.get(order_id)
        if not refresh:
            return payment
        async with self._turns.turn(order_id):
            return await self._intents.reread(payment)

    async def get(self, payment_id: str, *, caller: Caller) -> Payment:
        """One payment by its own id, as it is stored.

        Raises:
            NoSuchPayment: there is none that the caller may see.
        """
        payment = await self._store.find_by_id(payment_id)
        if payment is None or not caller.may_see(payment.user_id or "", order_id=payment.order_id):
            raise NoSuchPayment(payment_id)
        return payment

    async def get_of_order(self, order_id: str, *, caller: Caller) -> Payment:
        """An order's payment, as it is stored.

        Raises:
            PaymentNotFound: the order has none that the caller may see.
        """
        payment = await self._store.get(order_id)
        if not caller.may_see(payment.user_id or "", order_id=order_id):
            raise PaymentNotFound(order_id)
        return payment

    async def close(self, order_id: str) -> Payment:
        """End the wait for money: comes back CANCELLED, or SUCCEEDED or PROCESSING if the money was faster.

        Raises:
            PaymentNotFound: the order has none.
            PaymentUnsettled, StripeUnavailable: repeat.
        """
        async with self._turns.turn(order_id):
            payment = await self._store.change(await self._store.get(order_id), decisions.close)
            return await self._intents.end(payment)

    async def void(self, order_id: str) -> None:
        """Undo the order's payment: cancelled, or what came in is due to go back. Without one, a late open is refused.

        The refund that is due is kept with the payment, and made by a saga of its own: that may take days, and the
        order need not wait for it.

        Raises:
            PaymentUnsettled, StripeUnavailable: repeat.
        """
        async with self._turns.turn(order_id):
            payment = await self._store.add(decisions.tombstone(order_id, at=self._clock()))
            payment = await self._intents.end(await self._store.change(payment, decisions.void))
            if payment.status is PaymentStatus.PROCESSING:
                raise PaymentUnsettled(f"payment {payment.id} is still processing")

    async def list_open_cases(self, table: FollowedTable, *, after: str | None, most: int) -> list[OpenCase]:
        """A batch of refunds or disputes that have to have a workflow each, by their ids, from behind `after` on."""
        return await self._store.list_open(table, after=after, most=most)

    async def client_secret(self, payment: Payment) -> str:
        """What lets the customer's browser pay; empty once nobody shall pay any more.

        Raises:
            StripeUnavailable: it is not kept, or not with today's API key, and Stripe does not answer: repeat.
        """
        if payment.intent_id is None or not payment.is_payable:
            return ""
        if payment.client_secret is not None:
            secret = self._secrets.open(payment.client_secret, intent_id=payment.intent_id)
            if secret is not None:
                return secret
        return await self._stripe.get_client_secret(payment.intent_id)


def _terms(payment: NewPayment | Payment) -> tuple[int, str, str | None]:
    return payment.amount, payment.currency, payment.payment_method
