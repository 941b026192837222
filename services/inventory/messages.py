"""Between protobuf messages and what the inventory service works with."""

from __future__ import annotations

from datetime import datetime

from domain.events import STOCK_EVENTS
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from ordersaga.inventory.v1 import inventory_pb2 as pb
from runtime.outbox import Event
from runtime.protos import to_proto, to_timestamp
from services.inventory.model import StockChange, StockLevel


def to_stock(level: StockLevel) -> pb.Stock:
    """Stock on the wire."""
    return to_proto(pb.Stock, level)


def to_event(change: StockChange, level: StockLevel, *, at: datetime) -> Event:
    """The event of a change that left the stock at this level."""
    return Event(
        topic=STOCK_EVENTS,
        key=change.product_id,
        type=f"stock.{change.kind}",
        aggregate="stock",
        aggregate_id=change.product_id,
        seq=level.seq,
        cause_id=change.order_id or change.product_id,
        data=to_proto(StockChanged, level, order_id=change.order_id, quantity=change.quantity, at=to_timestamp(at)),
        at=at,
    )
