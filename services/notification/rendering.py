"""From an order's event to the mail that the customer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from domain.money import format_money
from domain.orders import AdjustmentType, CancelledBy, OrderStatus, PriceAdjustment, Reason
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.protos import from_timestamp
from services.notification.model import Template, is_first_to_guest

_REASONS: Final[Mapping[str, str]] = {
    Reason.PRODUCT_NOT_FOUND: "A product in your order is not in our shop.",
    Reason.PRODUCT_INACTIVE: "A product in your order is not for sale at the moment.",
    Reason.CURRENCY_MISMATCH: "A product in your order is not sold in the currency that you chose.",
    Reason.DISCOUNT_TOO_LARGE: "The discount was more than the order costs.",
    Reason.PRICE_CHANGED: "A price changed while you were ordering. You can order again at today's price.",
    Reason.OUT_OF_STOCK: "There is not enough left in stock of a product in your order.",
    Reason.STOCK_LOST: "We could not deliver what you had paid for. You get all of your money back.",
    Reason.PAYMENT_DECLINED: "Your payment was declined.",
    Reason.PAYMENT_TIMEOUT: "We did not receive your payment in time.",
    Reason.PAYMENT_REJECTED: "The payment could not be set up for this amount or with this payment method.",
    Reason.PAYMENT_CANCELLED: "The payment was cancelled.",
    Reason.PAYMENT_MISMATCH: "The amount that was paid is not the amount of the order. You get all of it back.",
    Reason.ACCEPTED_TOO_LATE: "It waited for too long on our side before we could take it up.",
    CancelledBy.CUSTOMER: "You asked us to.",
    CancelledBy.SUPPORT: "Our team cancelled it.",
    CancelledBy.ADMIN: "Our team cancelled it.",
    CancelledBy.OPERATOR: "Our team cancelled it.",
}
"""Why an order ended, for people. Nothing is said for a reason that is newer than this table."""
_LOADER: Final = PackageLoader("services.notification")
_text = Environment(
    loader=_LOADER,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
    autoescape=False,  # noqa: S701 - plain text
)
_html = Environment(
    loader=_LOADER,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    autoescape=True,
)
_SUBJECTS: Final = {
    Template.ORDER_PLACED: _text.from_string("Your order: set aside until {{ deadline }}"),
    Template.ORDER_PAID: _text.from_string(
        "{% if is_free %}We have your order{% else %}Your receipt: we received {{ total }}{% endif %}"
    ),
    Template.ORDER_FAILED: _text.from_string("Your order could not be completed"),
    Template.ORDER_CANCELLED: _text.from_string("Your order was cancelled"),
    Template.ORDER_REFUNDED: _text.from_string("Your refund: we have given {{ refund }} back to you"),
    Template.ORDER_REFUND_FAILED: _text.from_string("Your refund of {{ refund }} did not reach you"),
    Template.ORDER_LINK: _text.from_string("The link to your order"),
    Template.CONFIRM_EMAIL: _text.from_string("Confirm your address"),
    Template.RESET_PASSWORD: _text.from_string("Choose a new password"),
    Template.CHANGE_EMAIL: _text.from_string("Confirm your new address"),
    Template.EMAIL_CHANGED: _text.from_string("Your address was changed"),
    Template.PASSWORD_CHANGED: _text.from_string("Your password was changed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedMail:
    """A mail as people read it, in both forms."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLink:
    """By which a guest follows their order.

    Attributes:
        token: which opens the order.
        page: the shop's page that the link leads to, which finds the token behind a #; without one the mail shows the
            token itself.
    """

    token: str = field(repr=False)
    page: str | None

    @property
    def url(self) -> str | None:
        """The link."""
        return None if self.page is None else f"{self.page}#order={self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adjustment:
    name: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    name: str
    quantity: int
    unit_price: str
    total: str


def render(
    template: Template,
    event: OrderTransitioned,
    *,
    customer: str,
    product_names: Mapping[str, str],
    link: OrderLink | None = None,
) -> RenderedMail:
    """Write the mail. A product whose name is neither in the event nor in `product_names` appears with its id.

    Args:
        template: which mail.
        event: what it is about.
        customer: whom it greets; empty for nobody by name.
        product_names: by their ids.
        link: of a guest's order.

    Raises:
        jinja2.TemplateError: a template asks for what the event does not have; a defect.
    """
    facts = {
        "customer": customer,
        "order_number": event.order_number or event.order_id,
        "at": _moment(from_timestamp(event.at)),
        "lines": [
            _Line(
                name=line.name or product_names.get(line.product_id, line.product_id),
                quantity=line.quantity,
                unit_price=format_money(line.unit_price, event.currency),
                total=format_money(line.quantity * line.unit_price, event.currency),
            )
            for line in event.lines
        ],
        "adjustments": [
            _Adjustment(name=each.name, change=format_money(each.change, event.currency))
            for each in (PriceAdjustment(AdjustmentType(it.type), it.name, it.amount) for it in event.adjustments)
        ],
        "reason": _REASONS.get(event.reason, ""),
        "may_be_strangers": event.is_guest and is_first_to_guest(template, event),
        "url": None if link is None else link.url,
        "token": "" if link is None else link.token,
        **_facts_that_may_miss(event),
    }
    return _render(template, facts)


def render_account(
    template: Template, *, at: datetime, customer: str, token: str, expires_at: datetime | None, page: str | None
) -> RenderedMail:
    """Write a mail about an account.

    Args:
        template: which mail.
        at: when that happened which it is about.
        customer: whom it greets; empty for nobody by name.
        token: of its link; empty where it has none.
        expires_at: of its link.
        page: the shop's page that the link leads to, which finds the token behind a #; without one the mail shows the
            token itself.
    """
    facts: dict[str, object] = {"customer": customer, "at": _moment(at)}
    if expires_at is not None:
        url = None if page is None else f"{page}#{template.value.replace('_', '-')}={token}"
        facts |= {"token": token, "expires_at": _moment(expires_at), "url": url}
    return _render(template, facts)


def _render(template: Template, facts: Mapping[str, object]) -> RenderedMail:
    return RenderedMail(
        subject=_SUBJECTS[template].render(facts),
        text=_text.get_template(f"{template.value}.txt").render(facts),
        html=_html.get_template(f"{template.value}.html").render(facts),
    )


def _facts_that_may_miss(event: OrderTransitioned) -> dict[str, str | bool]:
    """What only some events have; a template that asks for it without need fails loudly."""
    facts: dict[str, str | bool] = {}
    if event.HasField("total"):
        facts["total"] = format_money(event.total, event.currency)
        facts["is_free"] = event.total == 0
    if event.HasField("payment_deadline"):
        facts["deadline"] = _moment(from_timestamp(event.payment_deadline))
    if event.refund_amount:
        facts["refund"] = format_money(event.refund_amount, event.currency)
        facts["refunded"] = format_money(event.refunded, event.currency)
        facts["has_refunds"] = event.refunded > 0
        facts["is_full"] = event.to_status == OrderStatus.REFUNDED
    return facts


def _moment(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
