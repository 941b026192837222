"""The embedded stack with some of its servers replaced by real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pytest

from domain.ids import new_id
from sandbox.external import External
from tests.support.client import Customer, Json, StackClient, order_of, running_stack, until

NOTHING: Final[Mapping[str, str]] = {}


class RealPart(Protocol):
    """A server that nobody here wrote, and that runs.

    Attributes:
        external: what of the embedded stack it stands for.
        environment: what a deployment sets to use it.
    """

    @property
    def external(self) -> External: ...

    @property
    def environment(self) -> Mapping[str, str]: ...


@asynccontextmanager
async def stack_on(
    var: Path,
    *parts: RealPart,
    settings: Mapping[str, str] = NOTHING,
    split: bool = False,
    restart: bool = False,
) -> AsyncIterator[StackClient]:
    """A stack that uses these parts, and the ways to it.

    Args:
        var: its folder.
        parts: what it starts no server of its own for.
        settings: as environment variables, others than the defaults and those that the parts say.
        split: see `Stack`.
        restart: see `Stack`.
    """
    with pytest.MonkeyPatch.context() as environment:
        for environments in (*(part.environment for part in parts), settings):
            for name, value in environments.items():
                environment.setenv(name, value)
        external = [part.external for part in parts]
        if External.SMTP in external:  # whose mails nobody opens links of
            environment.setenv("ORDERSAGA_REQUIRE_CONFIRMED_EMAIL", "false")
        async with running_stack(var, split=split, restart=restart, external=external) as client:
            yield client


@dataclass(frozen=True, slots=True, kw_only=True)
class Shopper:
    """Somebody who buys one unit after the other of one product."""

    client: StackClient
    customer: Customer
    product_id: str

    @classmethod
    async def enter(cls, client: StackClient, *, units: int) -> Shopper:
        """A new customer before a new product, of which there are so many."""
        customer = await client.sign_up(confirms=client.stack.settings.require_confirmed_email)
        return cls(client=client, customer=customer, product_id=await client.add_product(units=units))

    async def until_sold(self, units: int, *, of: int) -> None:
        """Return once so many of the product's units are sold."""
        await until(lambda: self.client.stock(self.product_id), lambda stock: of - stock[0] >= units)

    async def buy(self, count: int, *, at_once: int = 8) -> Sequence[Json]:
        """Place so many orders, so many of them at once, and pay each; return when all are PAID."""
        turns = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(self._buy_one(turns) for _ in range(count)))

    async def _buy_one(self, turns: asyncio.Semaphore) -> Json:
        async with turns:
            placed = await self.client.place(self.customer, order_of(self.product_id, quantity=1), key=new_id())
            order = await self.client.until_payable(self.customer, placed.raise_for_status().json()["id"])
            await self.client.pay(order)
            return await self.client.until_status(self.customer, order["id"], "PAID")
