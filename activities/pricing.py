"""Pricing steps, at the product service; whether the total can be charged the payment service says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from temporalio import activity

from activities.calling import call_service
from domain.saga import Quote, QuoteRequest
from ordersaga.payment.v1 import payment_pb2
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.product.v1 import product_pb2
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from runtime.protos import from_proto, to_proto
from workflows.steps import PricingSteps

MAX_NAMES: Final = 1_000_000
"""Bytes of JSON that all names of a quote may take together: Temporal takes 2 MB at once."""
SHORT_NAME: Final = 80
"""Characters that are left of each where they take more; so, those of the largest order fit."""


class PricingActivities(PricingSteps):
    """See `workflows.steps.PricingSteps`."""

    def __init__(self, *, products: ProductServiceStub, payments: PaymentServiceStub) -> None:
        self._products = products
        self._payments = payments

    @activity.defn(name="quote")
    async def quote(self, request: QuoteRequest) -> Quote:
        response = await call_service(
            self._products.Quote,
            to_proto(product_pb2.QuoteRequest, request),
        )
        await call_service(
            self._payments.CheckAmount,
            payment_pb2.CheckAmountRequest(amount=response.total, currency=request.currency),
        )
        return fit_names(from_proto(Quote, response, currency=request.currency))


def fit_names(quote: Quote) -> Quote:
    """The quote, its names cut short where a history could not hold them."""
    if sum(len(json.dumps(line.name)) for line in quote.lines) <= MAX_NAMES:
        return quote
    return replace(quote, lines=[replace(line, name=line.name[:SHORT_NAME]) for line in quote.lines])
