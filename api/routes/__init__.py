"""What the gateway answers, a module per thing; `HANDLERS` has all of it."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from api.routes import health, inventory, orders, products, users, webhooks

HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (
    users.register_user,
    users.get_current_user,
    users.create_token,
    products.list_products,
    products.create_product,
    products.get_product,
    inventory.get_stock,
    inventory.adjust_stock,
    orders.place_order,
    orders.get_order,
    webhooks.receive_stripe_event,
    health.get_liveness,
    health.get_readiness,
)
