"""What the gateway answers, a module per thing; `HANDLERS` has all of it."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from api.routes import (
    accounts,
    inventory,
    notifications,
    orders,
    payments,
    products,
    refunds,
    sessions,
    tokens,
    users,
    webhooks,
)

HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (
    users.register_user,
    users.get_current_user,
    users.list_users,
    users.get_user,
    users.update_user,
    accounts.request_confirmation,
    accounts.confirm_email,
    accounts.request_password_reset,
    accounts.reset_password,
    accounts.change_password,
    accounts.change_email,
    accounts.erase_current_user,
    accounts.erase_user,
    sessions.list_sessions,
    sessions.end_session,
    sessions.end_sessions,
    sessions.end_sessions_of_user,
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
    orders.get_timeline,
    refunds.refund_order,
    refunds.list_refunds,
    payments.get_payment,
    notifications.send_notification,
    webhooks.receive_stripe_event,
)
