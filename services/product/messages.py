"""Between protobuf messages and what the product service works with."""

from __future__ import annotations

from domain.events import PRODUCT_EVENTS
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from ordersaga.product.v1 import product_pb2 as pb
from runtime.outbox import Event
from runtime.protos import from_proto, to_proto, to_timestamp
from services.product.model import Changes, PricedLines, Product


def to_product(product: Product) -> pb.Product:
    """A product on the wire."""
    return to_proto(pb.Product, product, version=product.seq)


def to_changes(request: pb.UpdateProductRequest) -> Changes:
    """What a checked request changes."""
    return from_proto(Changes, request)


def to_quote(priced: PricedLines) -> pb.QuoteResponse:
    """Today's prices on the wire."""
    return to_proto(pb.QuoteResponse, priced)


def to_event(product: Product, event_type: str) -> Event:
    """The event of the product's present version."""
    return Event(
        topic=PRODUCT_EVENTS,
        key=product.id,
        type=event_type,
        aggregate="product",
        aggregate_id=product.id,
        seq=product.seq,
        cause_id=product.id,
        data=to_proto(ProductChanged, product, product_id=product.id, at=to_timestamp(product.updated_at)),
        at=product.updated_at,
    )
