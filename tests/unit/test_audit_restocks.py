"""The audit of units that refunds put back."""

from __future__ import annotations

from cli.audit.facts import RestockFact
from cli.audit.invariants import stock_adds_up
from tests.support.audit_facts import facts

PRODUCT, ORDER = "product", "order"


def restock(units: int) -> RestockFact:
    """Of three units that were sold, so many came back."""
    return RestockFact(order_id=ORDER, product_id=PRODUCT, restocked=units, sold=3)


def test_units_that_came_back_are_no_breach() -> None:
    assert list(stock_adds_up(facts(restocks=[restock(2), restock(3)]))) == []


def test_more_units_back_than_were_sold_are_a_breach_of_invariant_3() -> None:
    [breach] = stock_adds_up(facts(restocks=[restock(4)]))

    assert (breach.invariant, breach.subject) == (3, "product product")
    assert breach.what == "4 came back of 3 that were sold to order order"
