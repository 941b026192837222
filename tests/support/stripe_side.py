"""What customers, banks, people in Stripe's dashboard and Stripe itself do, and what Stripe then has of a payment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import stripe
from msgspec.structs import replace

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.api.calls import ApiRequest
from sandbox.stripe.disputes import BalanceTransaction, Dispute, DisputeReason, DisputeStatus
from sandbox.stripe.faults import ApiFaults, Faults, Operation
from sandbox.stripe.objects import Charge, ChargeStatus, Intent, IntentStatus, RefundFailure, RefundStatus
from sandbox.stripe.rules.intents import Authentication
from services.payment.payments.model import Payment


class StripeSide:
    """One account at Stripe, in this process.

    Attributes:
        account: the double.
        sdk: the official SDK in front of it.
    """

    account: StripeAccount
    sdk: stripe.StripeClient

    def break_api(self, *operations: str, **faults: Any) -> None:
        """Let these calls go wrong from here on, or all."""
        limited = frozenset(Operation(operation) for operation in operations) or None
        self.account.faults.set(Faults(api=ApiFaults(operations=limited, **faults)))

    def fix_api(self) -> None:
        """Let every call go well again."""
        self.account.faults.clear()

    async def customer_pays(self, payment: Payment, payment_method: str) -> int:
        """What the customer's browser does with the client secret; the status of Stripe's answer."""
        intent = self.account.get(Intent, payment.intent_id or "")
        form = {"payment_method": payment_method, "client_secret": intent.client_secret}
        request = ApiRequest(
            method="POST",
            path=f"/v1/payment_intents/{intent.id}/confirm",
            parameters=urlencode(form).encode(),
            headers={"authorization": "Bearer pk_test_shop", "content-type": "application/x-www-form-urlencoded"},
        )
        return (await self.account.answer(request)).status

    def authenticate(self, payment: Payment, *, succeeds: bool) -> None:
        """What happens on the page of the customer's bank."""
        outcome = Authentication.SUCCEED if succeeds else Authentication.FAIL
        self.account.authenticate(payment.intent_id or "", outcome)

    async def intents(self, order_id: str) -> list[stripe.PaymentIntent]:
        """The order's intents."""
        page = await self.sdk.v1.payment_intents.list_async({"limit": 100})
        return [intent for intent in page.data if intent.metadata.to_dict().get("order_id") == order_id]

    async def charges(self, payment: Payment) -> list[stripe.Charge]:
        """The payment's charges, paid or failed."""
        page = await self.sdk.v1.charges.list_async({"payment_intent": payment.intent_id or "", "limit": 100})
        return list(page.data)

    async def refund_in_dashboard(self, payment: Payment, amount: int | None = None) -> stripe.Refund:
        """Somebody gives money back in Stripe's dashboard: all that is left without an amount."""
        parameters: Any = {"payment_intent": payment.intent_id or ""}
        if amount is not None:
            parameters["amount"] = amount
        return await self.sdk.v1.refunds.create_async(parameters)

    def move_refund(self, stripe_refund_id: str | None, status: str, *, failure_reason: str | None = None) -> None:
        """Stripe, or the customer's bank, does this to a refund."""
        failure = None if failure_reason is None else RefundFailure(failure_reason)
        self.account.change_refund(stripe_refund_id or "", RefundStatus(status), failure=failure)

    async def dispute(
        self,
        payment: Payment,
        *,
        status: str = DisputeStatus.NEEDS_RESPONSE,
        reason: str = DisputeReason.FRAUDULENT,
        amount: int | None = None,
    ) -> str:
        """The customer goes to their bank: a chargeback of what is left, or as the arguments say; the dispute's id."""
        [charge] = [charge for charge in await self.charges(payment) if charge.status == "succeeded"]
        opened = self.account.open_dispute(
            charge.id, status=DisputeStatus(status), reason=DisputeReason(reason), amount=amount
        )
        return opened.id

    def move_dispute(self, dispute_id: str, status: str) -> None:
        """The customer's bank, or Stripe, does this to a dispute."""
        self.account.change_dispute(dispute_id, DisputeStatus(status))

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
        self.account.overwrite(replace(self.account.get(Dispute, dispute_id), balance_transactions=moved))

    def forget_dispute(self, charge: stripe.Charge) -> None:
        """Let the charge be disputed once more, as banks allow though rarely."""
        self.account.overwrite(replace(self.account.get(Charge, charge.id), disputed=False))

    def refuse_refunds(self, charge: stripe.Charge) -> None:
        """Let Stripe refuse every refund of the charge from here on."""
        self.account.overwrite(replace(self.account.get(Charge, charge.id), status=ChargeStatus.FAILED))

    def allow_refunds(self, charge: stripe.Charge) -> None:
        """Let it refuse no more."""
        self.account.overwrite(replace(self.account.get(Charge, charge.id), status=ChargeStatus.SUCCEEDED))

    async def change_intent(self, payment: Payment, *, currency: str, amount: int) -> None:
        """Somebody changes an intent that is not paid yet with the secret key."""
        changes: stripe.params.PaymentIntentUpdateParams = {"currency": currency, "amount": amount}
        await self.sdk.v1.payment_intents.update_async(payment.intent_id or "", changes)

    def age_intents(self, order_id: str, age: timedelta) -> None:
        """As if the order's intents had been made so much earlier."""
        for intent in self.account.all(Intent):
            if intent.metadata.get("order_id") == order_id:
                self.account.remove(intent.id)
                self.account.overwrite(replace(intent, created=intent.created - int(age.total_seconds())))

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

    def forget_keys(self) -> None:
        """As Stripe does after a day."""
        self.account.forget_keys()

    def forget_everything(self) -> None:
        """As if nothing had ever happened at Stripe: what lists all there is then shows the one order alone."""
        self.account.clear()

    async def webhook_bodies(self, *types: str) -> list[bytes]:
        """The bodies of all webhooks of these types, or of any, that Stripe has to send, oldest first."""
        page = await self.sdk.v1.events.list_async({"limit": 100})
        events = [event.to_dict(for_json=True) for event in reversed(page.data)]
        return [msgspec.json.encode(event) for event in events if not types or event["type"] in types]
