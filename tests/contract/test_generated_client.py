"""The first rows of the demo, by a client that openapi-python-client makes of docs/openapi.json, and by nothing else.

What a shop does that has no gateway's URL in its code: it knows the names of operations and of fields.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from sandbox.processes import ROOT
from tests.support.client import StackClient, running_stack, until

PACKAGE: Final = "generated_shop"
GENERATOR: Final = ROOT / ".venv/client/bin/openapi-python-client"
PASSWORD: Final = "correct horse battery"
VISA, DECLINED = "pm_card_visa", "pm_card_chargeDeclined"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The generated package can be imported."""
    folder = tmp_path_factory.mktemp("client") / PACKAGE
    document = ROOT / "docs/openapi.json"
    made = subprocess.run(
        [GENERATOR, "generate", "--path", document, "--meta", "none", "--output-path", folder],
        capture_output=True,
        text=True,
    )
    assert (made.returncode, folder.exists()) == (0, True), made.stdout + made.stderr
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[PACKAGE] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def generated(path: str) -> Any:
    """A module of the package, such as ``api.orders.place_order``; as it is made by a run, nothing knows its types."""
    return importlib.import_module(f"{PACKAGE}.{path}")


def model(of: str, /, **fields: Any) -> Any:
    """An object of the package's, from the JSON that it is."""
    return getattr(generated("models"), of).from_dict(fields)


async def call(operation: str, client: Any, *path: str, **arguments: Any) -> Any:
    """What an operation answers, parsed by the package; never a problem."""
    answer = await generated(f"api.{operation}").asyncio_detailed(*path, client=client, **arguments)
    assert answer.status_code < 300, answer.content
    return answer.parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The shop, by the generated client: as nobody, and as its admin."""

    stack: StackClient
    opened: AsyncExitStack
    nobody: Any
    admin: Any = None

    async def sign_up(self) -> Any:
        """A client with a new customer's token."""
        email = f"customer-{new_id()}@example.test"
        new = model("NewUser", email=email, password=PASSWORD, name="Ada Byron")
        await call("users.register_user", self.nobody, body=new)
        return await self.sign_in(email, PASSWORD)

    async def sign_in(self, email: str, password: str) -> Any:
        """A client with the token that these get."""
        tokens = await call(
            "users.create_token", self.nobody, body=model("Credentials", email=email, password=password)
        )
        gateway = self.stack.stack.endpoints.gateway
        client = generated("client").AuthenticatedClient(base_url=gateway, token=tokens.access_token, timeout=TIMEOUT)
        return await self.opened.enter_async_context(client)

    async def add_product(self, *, units: int) -> str:
        """The id of a new product, of which there are so many."""
        new = model("NewProduct", name="Coffee mug", unit_price=1_250, currency="EUR")
        product = await call("products.create_product", self.admin, body=new)
        delivery = model("NewAdjustment", delta=units, note="delivery")
        await call("inventory.adjust_stock", self.admin, product.id, body=delivery)
        return str(product.id)

    async def available(self, product_id: str) -> int:
        """Units that can be ordered."""
        stock = await call("inventory.get_stock", self.admin, product_id)
        return int(stock.available)

    async def order(self, customer: Any, lines: Mapping[str, int], **fields: Any) -> Any:
        """Place an order, and wait for its first outcome."""
        body = model(
            "NewOrder",
            lines=[{"product_id": product_id, "quantity": quantity} for product_id, quantity in lines.items()],
            currency="EUR",
            shipping_address={
                "name": "Ada Byron",
                "line1": "1 High Street",
                "city": "Springfield",
                "postal_code": "12345",
                "country": "DE",
            },
            **fields,
        )
        return await call("orders.place_order", customer, body=body, idempotency_key=new_id(), prefer="wait=20")

    async def pay(self, order: Any, payment_method: str) -> bool:
        """Confirm the payment at Stripe as a browser does; whether the card was accepted."""
        secret = order.client_secret
        form = {"key": "pk_test_browser", "client_secret": secret, "payment_method": payment_method}
        intent = secret.partition("_secret_")[0]
        answer = await self.stack.stripe.post(f"/v1/payment_intents/{intent}/confirm", data=form)
        return answer.is_success

    async def closed(self, customer: Any, order: Any) -> tuple[str, str | None]:
        """Status and reason of the order, once it has ended."""
        ended = await until(
            lambda: call("orders.get_order", customer, str(order.id)),
            lambda read: read.status.value not in ("RECEIVED", "PENDING"),
        )
        return ended.status.value, ended.reason


TIMEOUT: Final = httpx.Timeout(30.0)


@pytest_asyncio.fixture(scope="module")
async def shop(package: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with running_stack(tmp_path_factory.mktemp("var")) as stack, AsyncExitStack() as opened:
        endpoints = stack.stack.endpoints
        nobody = generated("client").Client(base_url=endpoints.gateway, timeout=TIMEOUT)
        shop = Shop(stack=stack, opened=opened, nobody=await opened.enter_async_context(nobody))
        account = endpoints.accounts["admin"]
        yield replace(shop, admin=await shop.sign_in(account.email, account.password))


async def test_paid_at_once(shop: Shop) -> None:
    customer, product = await shop.sign_up(), await shop.add_product(units=10)

    order = await shop.order(customer, {product: 2}, payment_method=VISA)

    assert await shop.closed(customer, order) == ("PAID", None)
    assert await shop.available(product) == 8
    payment = await call("payments.get_payment", customer, str(order.payment_id))
    assert (payment.status.value, payment.amount_received) == ("SUCCEEDED", 2_500)


async def test_declined_then_paid_with_another_card(shop: Shop) -> None:
    customer, product = await shop.sign_up(), await shop.add_product(units=5)

    order = await shop.order(customer, {product: 1}, payment_method=DECLINED)

    assert await shop.pay(order, VISA)
    assert await shop.closed(customer, order) == ("PAID", None)
    assert await shop.available(product) == 4


async def test_declined_three_times(shop: Shop) -> None:
    customer, product = await shop.sign_up(), await shop.add_product(units=5)

    order = await shop.order(customer, {product: 3}, payment_method=DECLINED)

    assert [await shop.pay(order, DECLINED) for _ in range(2)] == [False, False]
    assert await shop.closed(customer, order) == ("FAILED", "PAYMENT_DECLINED")
    assert await shop.available(product) == 5


async def test_out_of_stock_on_the_second_line(shop: Shop) -> None:
    customer = await shop.sign_up()
    first, second = await shop.add_product(units=10), await shop.add_product(units=1)

    order = await shop.order(customer, {first: 4, second: 2}, payment_method=VISA)

    assert await shop.closed(customer, order) == ("FAILED", "OUT_OF_STOCK")
    assert [await shop.available(product) for product in (first, second)] == [10, 1]


async def test_unknown_product(shop: Shop) -> None:
    customer = await shop.sign_up()

    order = await shop.order(customer, {new_id(): 1}, payment_method=VISA)

    assert await shop.closed(customer, order) == ("FAILED", "PRODUCT_NOT_FOUND")


async def test_nobody_pays(shop: Shop) -> None:
    customer, product = await shop.sign_up(), await shop.add_product(units=3)

    order = await shop.order(customer, {product: 2}, payment_window_seconds=3)

    assert await shop.closed(customer, order) == ("FAILED", "PAYMENT_TIMEOUT")
    assert await shop.available(product) == 3


async def test_cancelled_by_its_customer(shop: Shop) -> None:
    customer, product = await shop.sign_up(), await shop.add_product(units=6)
    order = await shop.order(customer, {product: 3})

    wish = model("Cancellation", note="changed my mind")
    await call("orders.cancel_order", customer, str(order.id), body=wish, idempotency_key=new_id())

    assert await shop.closed(customer, order) == ("CANCELLED", "CUSTOMER")
    assert await shop.available(product) == 6


async def test_a_customer_reads_their_orders_page_by_page(shop: Shop) -> None:
    customer = await shop.sign_up()
    placed = [await shop.order(customer, {new_id(): 1}) for _ in range(3)]

    seen: Sequence[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await call("orders.list_orders", customer, limit=2, **cursor)
        seen = [*seen, *(str(order.id) for order in page.items)]
        if not page.next_cursor:
            break
        cursor = {"cursor": page.next_cursor}

    assert seen == [str(order.id) for order in reversed(placed)]
