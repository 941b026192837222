"""Filling: every order is told once, and written to six databases side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from random import Random
from typing import Final, Protocol

from bench.filling.accounts import AccountDatabase
from bench.filling.mails import MailDatabase
from bench.filling.orders import OrderDatabase
from bench.filling.payments import PaymentDatabase
from bench.filling.people import Account
from bench.filling.products import ProductDatabase
from bench.filling.shape import Shape
from bench.filling.sheets import Sheet, Writer
from bench.filling.stock import StockDatabase
from bench.filling.story import FilledOrder, Stories

BATCH: Final = 5_000
"""Orders of one transaction."""
LAST: Final = 500
"""Of the newest orders somebody may want to know what they are."""


class _Database(Protocol):
    """What a module of this package knows of its database."""

    sheets: Sequence[Sheet]


class Filled:
    """What was filled: who orders, of whom lists are read.

    Attributes:
        last: the newest orders, the last one last.
    """

    def __init__(self, stories: Stories, last: list[FilledOrder]) -> None:
        self.accounts: list[Account] = list(stories.people.accounts)
        self.products = [product.id for product in stories.catalogue.products]
        self.last = last


def fill(dsns: Mapping[str, str], shape: Shape, *, on_progress: Callable[[int], None] = lambda orders: None) -> Filled:
    """Fill migrated databases, whatever they hold already; once for each shape and moment.

    Args:
        dsns: service to its database, as whom its tables belong to.
        shape: what.
        on_progress: called with the number of orders that are made so far.
    """
    stories, random = Stories(shape), Random(f"{shape.seed} rows")  # noqa: S311  # the same rows each time
    mails, stock = MailDatabase(random), StockDatabase(random)
    orders, payments = OrderDatabase(random), PaymentDatabase(random, intents=shape.intents)
    users, products = AccountDatabase(random, shape, mails), ProductDatabase(random)
    databases: Mapping[str, _Database] = {
        "user": users,
        "product": products,
        "inventory": stock,
        "order": orders,
        "payment": payments,
        "notification": mails,
    }
    last: list[FilledOrder] = []
    with ExitStack() as stack:
        writers = [
            stack.enter_context(Writer(dsns[service], database.sheets)) for service, database in databases.items()
        ]

        def write() -> None:
            for writer in writers:
                writer.write()

        for product in stories.catalogue.products:
            products.add(product)
        stock.begin(stories.catalogue.products)
        for account in stories.people.accounts:
            users.add(account)
            if account.number % BATCH == 0:
                write()
        for number, order in enumerate(stories, start=1):
            for database in (orders, stock, payments, mails):
                database.add(order)
            if number > shape.orders - LAST:
                last.append(order)
            if number % BATCH == 0:
                write()
                on_progress(number)
        stock.end(stories.catalogue.products)
        for writer in writers:
            writer.finish()
    return Filled(stories, last)
