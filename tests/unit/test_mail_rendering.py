"""What customers read."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape

import pytest

from domain.ids import new_id
from domain.orders import CancelledBy, OrderStatus, Reason
from ordersaga.events.v1.order_events_pb2 import OrderedAdjustment, OrderedLine, OrderTransitioned
from services.notification.model import ABOUT_ACCOUNTS, TEMPLATE_OF, WITH_LINK, Template
from services.notification.rendering import OrderLink, RenderedMail, render, render_account

CUP, PLATE = new_id(), new_id()
NAMES = {CUP: "Cup & saucer <blue>", PLATE: "Plate"}


def order(*, reason: str = "", priced: bool = True) -> OrderTransitioned:
    event = OrderTransitioned(
        order_id="0198c0de-0000-7000-8000-000000000001",
        user_id=new_id(),
        reason=reason,
        currency="EUR",
        lines=[
            OrderedLine(product_id=CUP, quantity=2, unit_price=1250 if priced else None),
            OrderedLine(product_id=PLATE, quantity=1, unit_price=900 if priced else None),
        ],
    )
    event.at.FromDatetime(datetime(2026, 11, 22, 9, 5, tzinfo=UTC))
    if priced:
        event.total = 3400
        event.payment_deadline.FromDatetime(datetime(2026, 11, 22, 9, 20, 59, tzinfo=UTC))
    return event


def refunded_order(*, refund: int, refunded: int, status: OrderStatus) -> OrderTransitioned:
    """An order of 34.00 EUR of which `refund` was given back, or sent back, which leaves `refunded` given back."""
    event = order()
    event.to_status, event.refund_id = status, new_id()
    event.refund_amount, event.refunded = refund, refunded
    return event


def mail(template: Template, event: OrderTransitioned, *, customer: str = "Ada") -> RenderedMail:
    return render(template, event, customer=customer, product_names=NAMES)


def test_a_product_is_called_what_it_was_called_when_it_was_ordered() -> None:
    event = order()
    event.lines[0].name = "Mug"

    assert "2 x Mug\n" in mail(Template.ORDER_PAID, event).text


@pytest.mark.parametrize("number", ["7KQ2-M9XD", ""])
def test_a_mail_says_which_order_it_is_about(number: str) -> None:
    event = order()
    event.order_number = number

    paid = mail(Template.ORDER_PAID, event)

    assert f"\nOrder {number or event.order_id}\n" in paid.text
    assert f">Order {number or event.order_id}<br>" in paid.html


@pytest.mark.parametrize("template", [Template.ORDER_PLACED, Template.ORDER_PAID, Template.ORDER_REFUNDED])
def test_shipping_and_discounts_have_rows_before_the_total(template: Template) -> None:
    event = refunded_order(refund=100, refunded=100, status=OrderStatus.PARTIALLY_REFUNDED)
    event.total = 3640
    event.adjustments.append(OrderedAdjustment(type="shipping", name="Parcel & more", amount=490))
    event.adjustments.append(OrderedAdjustment(type="discount", name="Welcome, 10 %", amount=250))

    written = mail(template, event)

    assert (
        "1 x Plate\n    9.00 EUR each, 9.00 EUR\n"
        "Parcel & more\n    4.90 EUR\n"
        "Welcome, 10 %\n    -2.50 EUR\n\n"
        "Total: 36.40 EUR\n"
    ) in written.text
    rows = [
        written.html.index(text) for text in ("Parcel &amp; more", "4.90 EUR", "Welcome, 10 %", "-2.50 EUR", "Total")
    ]
    assert rows == sorted(rows)


def test_a_free_order_is_not_said_to_be_paid() -> None:
    event = order()
    event.total = 0
    for line in event.lines:
        line.unit_price = 0

    paid = mail(Template.ORDER_PAID, event)

    assert paid.subject == "We have your order"
    assert "It is free: there is nothing to pay.\n\n2 x Cup & saucer" in paid.text
    assert "received" not in paid.text + paid.html


def test_an_order_placed_says_what_to_pay_and_until_when() -> None:
    placed = mail(Template.ORDER_PLACED, order())

    assert placed.subject == "Your order: set aside until 22 November 2026, 09:20 UTC"
    assert placed.text == (
        "Hello Ada,\n\n"
        "Thank you for your order. Everything in it is set aside for you until\n"
        "22 November 2026, 09:20 UTC.\n\n"
        "Have you paid, or given a card with the order? Then there is nothing to do:\n"
        "your receipt follows as soon as the payment is in.\n\n"
        "Otherwise, or if your card was declined, please pay 34.00 EUR by then.\n"
        "After that the order ends by itself and costs nothing.\n\n"
        "2 x Cup & saucer <blue>\n"
        "    12.50 EUR each, 25.00 EUR\n"
        "1 x Plate\n"
        "    9.00 EUR each, 9.00 EUR\n\n"
        "Total: 34.00 EUR\n\n"
        "-- \n"
        "Order 0198c0de-0000-7000-8000-000000000001\n"
        "22 November 2026, 09:05 UTC\n"
    )


@pytest.mark.parametrize("template", [Template.ORDER_PLACED, Template.ORDER_PAID, Template.ORDER_LINK])
def test_a_guests_mail_has_the_link_in_both_forms(template: Template) -> None:
    event = order()
    event.is_guest = True
    link = OrderLink(token="a.b.c", page="https://shop.example.test/order?lang=en&x=1")

    with_page = render(template, event, customer="", product_names=NAMES, link=link)
    without = render(template, event, customer="", product_names=NAMES, link=OrderLink(token="a.b.c", page=None))

    assert "\nhttps://shop.example.test/order?lang=en&x=1#order=a.b.c\n" in with_page.text
    assert 'href="https://shop.example.test/order?lang=en&amp;x=1#order=a.b.c"' in with_page.html
    assert "\na.b.c\n" in without.text
    assert "<code>a.b.c</code>" in without.html
    assert "Hello,\n" in with_page.text


def test_only_a_mail_to_an_address_that_may_be_anybodys_says_so() -> None:
    event, free = order(), order()
    event.is_guest = free.is_guest = True
    free.total = 0

    said = {
        ("placed", "guest"): mail(Template.ORDER_PLACED, event),
        ("free", "guest"): mail(Template.ORDER_PAID, free),
        ("paid", "guest"): mail(Template.ORDER_PAID, event),
        ("placed", "account"): mail(Template.ORDER_PLACED, order()),
    }

    for form in ("text", "html"):
        found = {which for which, written in said.items() if "somebody who gave this address" in getattr(written, form)}
        assert found == {("placed", "guest"), ("free", "guest")}


def test_a_receipt_lists_what_was_paid() -> None:
    paid = mail(Template.ORDER_PAID, order())

    assert paid.subject == "Your receipt: we received 34.00 EUR"
    for form in (paid.text, paid.html):
        assert "34.00 EUR" in form
        assert "12.50 EUR" in form
        assert "Plate" in form


@pytest.mark.parametrize("reason", Reason)
def test_a_failed_order_gives_its_reason_in_human_words(reason: Reason) -> None:
    failed = mail(Template.ORDER_FAILED, order(reason=reason, priced=False))

    assert failed.subject == "Your order could not be completed"
    assert reason.value not in failed.text + failed.html
    sentence = failed.text.split("\n\n")[2]
    assert sentence.endswith(".")
    assert sentence in unescape(failed.html)


def test_a_reason_that_is_newer_than_the_mail_is_left_out() -> None:
    failed = mail(Template.ORDER_FAILED, order(reason="MOON_PHASE"))

    assert "MOON_PHASE" not in failed.text + failed.html
    assert "could not be completed.\n\nThe order has ended" in failed.text


def test_a_cancelled_order_says_who_cancelled_it() -> None:
    cancelled = mail(Template.ORDER_CANCELLED, order(reason=CancelledBy.OPERATOR))

    assert cancelled.subject == "Your order was cancelled"
    assert "Your order was cancelled. Our team cancelled it.\n\nNothing is due." in cancelled.text


def test_a_first_partial_refund_says_how_much_came_back_of_what_was_paid() -> None:
    event = refunded_order(refund=900, refunded=900, status=OrderStatus.PARTIALLY_REFUNDED)

    refunded = mail(Template.ORDER_REFUNDED, event)

    assert refunded.subject == "Your refund: we have given 9.00 EUR back to you"
    assert refunded.text == (
        "Hello Ada,\n\n"
        "We have given 9.00 EUR back to you. So far, 9.00 EUR of the\n"
        "34.00 EUR that you paid is refunded.\n\n"
        "The money goes to the card or account that you paid with. Your bank may take\n"
        "some days to show it.\n\n"
        "This was your order:\n\n"
        "2 x Cup & saucer <blue>\n"
        "    12.50 EUR each, 25.00 EUR\n"
        "1 x Plate\n"
        "    9.00 EUR each, 9.00 EUR\n\n"
        "Total: 34.00 EUR\n\n"
        "-- \n"
        "Order 0198c0de-0000-7000-8000-000000000001\n"
        "22 November 2026, 09:05 UTC\n"
    )
    assert "A part of your order is refunded" in refunded.html
    assert "So far, 9.00 EUR of the 34.00 EUR that you paid is refunded." in refunded.html


def test_the_refund_that_completes_it_says_that_all_came_back() -> None:
    refunded = mail(Template.ORDER_REFUNDED, refunded_order(refund=2500, refunded=3400, status=OrderStatus.REFUNDED))

    assert refunded.subject == "Your refund: we have given 25.00 EUR back to you"
    assert "With that, your payment of\n34.00 EUR is refunded in full.\n\nThe money goes" in refunded.text
    assert "Your order is refunded</h1>" in refunded.html
    for form in (refunded.text, refunded.html):
        assert "25.00 EUR" in form
        assert "So far" not in form


@pytest.mark.parametrize(
    ("refunded", "status", "left"),
    [(900, OrderStatus.PARTIALLY_REFUNDED, "9.00 EUR"), (0, OrderStatus.PAID, "nothing")],
)
def test_a_refund_that_came_back_says_who_is_at_it_and_what_is_left(
    refunded: int, status: OrderStatus, left: str
) -> None:
    event = refunded_order(refund=2500, refunded=refunded, status=status)

    failed = mail(Template.ORDER_REFUND_FAILED, event)

    assert failed.subject == "Your refund of 25.00 EUR did not reach you"
    for form in (failed.text, failed.html):
        words = " ".join(form.replace("<strong>", "").replace("</strong>", "").split())
        assert "We had given 25.00 EUR back to you, but your bank sent it back to us." in words
        assert "Our team is at it" in words
        assert f"Without this refund, {left} of the 34.00 EUR that you paid is refunded so far." in words
    assert "\n\n\n" not in failed.text


def test_names_are_escaped_in_html_and_plain_in_text() -> None:
    placed = mail(Template.ORDER_PLACED, order(), customer="<b>Ada</b>")

    assert "<b>Ada</b>" in placed.text
    assert "&lt;b&gt;Ada&lt;/b&gt;" in placed.html
    assert "Cup &amp; saucer &lt;blue&gt;" in placed.html


def test_a_product_that_is_gone_appears_with_its_id() -> None:
    paid = render(Template.ORDER_PAID, order(), customer="Ada", product_names={CUP: "Cup"})

    assert f"1 x {PLATE}\n" in paid.text


@pytest.mark.parametrize("template", TEMPLATE_OF.values())
def test_no_mail_about_an_order_links_anywhere_or_loads_anything(template: Template) -> None:
    event = refunded_order(refund=900, refunded=900, status=OrderStatus.PARTIALLY_REFUNDED)
    event.reason = Reason.OUT_OF_STOCK

    html = mail(template, event).html

    assert "http" not in html
    assert "src=" not in html
    assert "href=" not in html
    assert "Order 0198c0de-0000-7000-8000-000000000001" in html


TOKEN = "t" * 64
AT = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)


def account_mail(template: Template, *, customer: str = "Ada", page: str | None = None) -> RenderedMail:
    has_link = template in WITH_LINK
    return render_account(
        template,
        at=AT,
        customer=customer,
        token=TOKEN if has_link else "",
        expires_at=AT if has_link else None,
        page=page,
    )


@pytest.mark.parametrize("template", sorted(ABOUT_ACCOUNTS))
@pytest.mark.parametrize("page", [None, "https://shop.example/account"])
def test_a_mail_about_an_account_links_to_the_shops_page_alone_and_only_where_it_has_to(
    template: Template, page: str | None
) -> None:
    mail = account_mail(template, page=page)

    link = f"https://shop.example/account#{template.value.replace('_', '-')}={TOKEN}"
    has_link = template in WITH_LINK and page is not None
    assert (mail.html.count("href="), mail.html.count("http"), mail.text.count("http")) == (
        (1, 1, 1) if has_link else (0, 0, 0)
    )
    assert (f'href="{link}"' in mail.html, link in mail.text.splitlines()) == (has_link, has_link)
    assert "src=" not in mail.html
    assert (TOKEN in mail.text, TOKEN in mail.html) == (template in WITH_LINK, template in WITH_LINK)
    assert "Order" not in mail.html


def test_without_a_page_a_mail_shows_the_token_on_a_line_of_its_own_and_until_when_it_works() -> None:
    mail = account_mail(Template.RESET_PASSWORD)

    assert TOKEN in mail.text.splitlines()
    assert "It works once, until 22 November 2026, 09:05 UTC." in mail.text


def test_a_mail_to_somebody_whose_name_is_not_said_greets_nobody() -> None:
    mail = account_mail(Template.CONFIRM_EMAIL, customer="")

    assert mail.text.startswith("Hello,\n\n")
    assert '<p style="margin:0 0 16px">Hello,</p>' in mail.html
