"""What the gateway answers, a module per thing; `HANDLERS` has all of it."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from api.routes import (
    inventory,
    notifications,
    order_events,
    orders,
    payments,
    products,
    refunds,
    tokens,
    users,
    webhooks,
)

HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (
    users.register_user,
    users.get_current_user,
    tokens.create_token,
    tokens.refresh_token,
    tokens.log_out,
    products.list_products,
    products.create_product,
    products.get_product,
    products.update_product,
    products.delete_product,
    inventory.get_stock,
    inventory.adjust_stock,
    orders.place_order,
    orders.cancel_order,
    orders.get_order,
    orders.list_orders,
    order_events.stream_order_events,
    orders.get_timeline,
    refunds.refund_order,
    refunds.list_refunds,
    payments.get_payment,
    notifications.send_notification,
    webhooks.receive_stripe_event,
)
