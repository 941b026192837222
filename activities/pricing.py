"""Pricing steps, at the product service; whether the total can be charged is the payment service's word."""

from __future__ import annotations

from temporalio import activity

from activities.calling import call_service
from domain.orders import PricedLine
from domain.saga import Quote, QuoteRequest
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.payment.v1 import payment_pb2
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.product.v1 import product_pb2
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from workflows.steps import PricingSteps


class PricingActivities(PricingSteps):
    """See `workflows.steps.PricingSteps`."""

    def __init__(self, *, products: ProductServiceStub, payments: PaymentServiceStub) -> None:
        self._products = products
        self._payments = payments

    @activity.defn(name="quote")
    async def quote(self, request: QuoteRequest) -> Quote:
        response = await call_service(
            self._products.Quote,
            product_pb2.QuoteRequest(
                lines=[OrderLine(product_id=line.product_id, quantity=line.quantity) for line in request.lines],
                currency=request.currency,
                expected_total=request.expected_total,
            ),
        )
        await call_service(
            self._payments.CheckAmount,
            payment_pb2.CheckAmountRequest(amount=response.total, currency=request.currency),
        )
        return Quote(
            lines=[
                PricedLine(product_id=line.product_id, quantity=line.quantity, unit_price=line.unit_price)
                for line in response.lines
            ],
            total=response.total,
            currency=request.currency,
        )
