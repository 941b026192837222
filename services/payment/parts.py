"""The payment service's use cases, put together."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.database import Database
from runtime.wakeups import Wakeups
from services.payment.dispute_ledger import DisputeLedger
from services.payment.dispute_service import DisputeService
from services.payment.disputes import Disputes
from services.payment.follow_ups import FollowUps
from services.payment.ledger import PaymentLedger
from services.payment.refund_ledger import RefundLedger
from services.payment.refund_service import RefundService
from services.payment.refunds import Refunds
from services.payment.sagas import Sagas
from services.payment.service import PaymentService
from services.payment.stripe_client import StripeClient


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentParts:
    """The use cases, and what keeps their workflows going."""

    payments: PaymentService
    refunds: RefundService
    disputes: DisputeService
    follow_ups: FollowUps


def put_together(database: Database, stripe: StripeClient, sagas: Sagas, wakeups: Wakeups) -> PaymentParts:
    """Every part on one database and one Stripe account; `wakeups` hears of refunds that changed."""
    payment_ledger = PaymentLedger(database)
    refund_ledger = RefundLedger(database)
    dispute_ledger = DisputeLedger(database)
    follow_ups = FollowUps(database, sagas)
    disputes = Disputes(payment_ledger, dispute_ledger, stripe)
    refunds = Refunds(payment_ledger, refund_ledger, disputes, stripe)
    return PaymentParts(
        payments=PaymentService(payment_ledger, stripe, refunds=refunds, disputes=disputes, follow_ups=follow_ups),
        refunds=RefundService(payment_ledger, refund_ledger, refunds, follow_ups, wakeups),
        disputes=DisputeService(dispute_ledger, disputes, follow_ups),
        follow_ups=follow_ups,
    )
