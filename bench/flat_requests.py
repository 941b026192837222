"""What people ask of a shop that has a past: each request over and over, and the CPU that it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import httpx

from bench.cpu import backend_seconds, cpu_seconds, spent
from bench.fill import PASSWORD
from bench.filling.fill import Filled
from bench.filling.people import BIG, OLD, REGULAR
from bench.filling.story import Ending, moment
from bench.load import Customers
from bench.stack import CONCURRENCIES, processes_of
from bench.watch import OrderWatch
from cli.exiting import CommandFailed
from runtime.cursors import encode_cursor
from sandbox.endpoints import Endpoints

PAGE: Final = 10
_HUNDREDTH: Final = 99 * PAGE
_CUSTOMERS: Final = range(10, 30)
"""Numbers of the accounts that place orders."""
_WARM_UP: Final = 0.2
"""Of the requests that are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A GET, by whoever has the token."""

    name: str
    path: str
    token: str
    params: Mapping[str, Any]


class Visitors:
    """Whoever asks: the customers that `bench.filling.people` singles out, an admin, and twenty who order."""

    def __init__(self, endpoints: Endpoints, filled: Filled, gateway: httpx.AsyncClient) -> None:
        self._processes = processes_of(endpoints)
        self._endpoints = endpoints
        self._filled = filled
        self._gateway = gateway

    async def sign_in(self) -> None:
        """Everybody, two at a time: a password takes a fifth of a second of CPU."""
        admin = self._endpoints.accounts["admin"]
        self._admin = await self._token(admin.email, admin.password)
        self._tokens = {
            number: await self._token(self._filled.accounts[number].email, PASSWORD)
            for number in (BIG, REGULAR, OLD, *_CUSTOMERS)
        }

    async def place(self, count: int, watch: OrderWatch) -> Mapping[str, float]:
        """Orders until they are PAID; milliseconds of CPU for each, by process."""
        customers = Customers(
            self._gateway,
            tokens=[self._tokens[number] for number in _CUSTOMERS],
            products=self._filled.products,
            watch=watch,
        )
        await customers.closed_loop(count=max(20, int(count * _WARM_UP)), concurrency=CONCURRENCIES[0])
        before = cpu_seconds(self._processes)
        await customers.closed_loop(count=count, concurrency=CONCURRENCIES[0])
        return {name: used / count * 1_000 for name, used in spent(before, cpu_seconds(self._processes)).items()}

    async def cpu_of(self, request: Request, *, times: int) -> Mapping[str, float]:
        """Milliseconds of CPU of the services, and of PostgreSQL's processes that answer them, for each.

        Others of its processes write, and clean up, what was filled.
        """
        await self._repeat(request, int(times * _WARM_UP) or 1)
        before = self._answering()
        await self._repeat(request, times)
        return {part: seconds / times * 1_000 for part, seconds in spent(before, self._answering()).items()}

    def _answering(self) -> Mapping[str, float]:
        services = cpu_seconds({"services": self._processes["services"]})
        return {**services, "postgres": backend_seconds(self._processes["postgres"])}

    async def _repeat(self, request: Request, times: int) -> None:
        for _ in range(times):
            await self._get(request.path, request.token, request.params)

    async def requests(self) -> Sequence[Request]:
        """All that is asked for."""
        big, last = self._tokens[BIG], self._filled.last
        sold = next(order for order in last if order.ending is Ending.PAID)
        own = next(order for order in reversed(last) if order.account is self._filled.accounts[BIG])
        month = {"created_from": moment(own.at - timedelta(days=30)), "created_before": moment(own.at)}
        filters: dict[str, Mapping[str, Any]] = {
            "PENDING": {"status": "PENDING"},
            "REFUNDED": {"status": "REFUNDED"},
            "a month": month,
            "total_min": {"total_min": 150_000},
            "total_max": {"total_max": 100},
        }
        found = [
            Request(name="an order", path=f"/v1/orders/{own.id}", token=big, params={}),
            *(_list(f"list of {who}", self._tokens[number]) for who, number in _SINGLED_OUT.items()),
            _list("list of admin", self._admin),
            _list("100th page of big", big, cursor=encode_cursor(await self._last_before(big))),
            _list("100th page of admin", self._admin, cursor=encode_cursor(await self._last_before(self._admin))),
            _list("search of big", big, search="no such product"),
            _list("number of admin", self._admin, number=sold.number),
            _list("needs attention of admin", self._admin, attention=True),
        ]
        for what, params in filters.items():
            found += [_list(f"{what} of big", big, **params), _list(f"{what} of admin", self._admin, **params)]
        return found

    async def _last_before(self, token: str) -> str:
        """The order before the hundredth page, by pages as long as they may be."""
        params: dict[str, Any] = {"limit": 99}
        for _ in range(_HUNDREDTH // 99):
            page = await self._get("/v1/orders", token, params)
            if page["next_cursor"] is None:
                return str(page["items"][-1]["id"])  # whoever has no hundredth page is asked for their last
            params["cursor"] = page["next_cursor"]
        return str(page["items"][-1]["id"])

    async def _token(self, email: str, password: str) -> str:
        body = {"email": email, "password": password}
        answer = await self._gateway.post("/v1/auth/token", json=body)
        if answer.status_code != httpx.codes.OK:
            raise CommandFailed(f"{email} cannot sign in: {answer.text}")
        return str(answer.json()["access_token"])

    async def _get(self, path: str, token: str, params: Mapping[str, Any]) -> dict[str, Any]:
        while True:
            answer = await self._gateway.get(path, params=params, headers={"Authorization": f"Bearer {token}"})
            if answer.status_code not in (429, 503):
                break
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        if answer.status_code != httpx.codes.OK:
            raise CommandFailed(f"{path} with {dict(params)} was answered {answer.status_code}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


_SINGLED_OUT: Final = {"big": BIG, "regular": REGULAR, "old": OLD}


def _list(name: str, token: str, **params: Any) -> Request:
    return Request(name=name, path="/v1/orders", token=token, params={"limit": PAGE, **params})
