"""A guest's order on the embedded stack: placed, followed by the link of its mail, paid, and adopted by an account."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from domain.ids import new_id
from runtime.part_settings import SETTINGS
from sandbox.environment import process_environment
from sandbox.processes import ROOT
from tests.support.client import NAME, PASSWORD, StackClient, order_of, running_stack, until

pytestmark = pytest.mark.long


async def read(client: StackClient, path: str, token: str) -> dict[str, Any]:
    answer = await client.gateway.get(path, headers={"Authorization": f"Bearer {token}"})
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


async def log_in(client: StackClient, email: str) -> str:
    answer = await client.gateway.post("/v1/auth/token", json={"email": email, "password": PASSWORD})
    return str(answer.raise_for_status().json()["access_token"])


def code_in(mail: dict[str, Any]) -> str:
    """What a mail shows where the shop has named no page for its link."""
    [code] = re.findall(r"^[\w-]+\.[\w-]+\.[\w-]+$", mail["text"], re.MULTILINE)
    return str(code)


async def test_a_guest_orders_pays_and_opens_an_account_that_has_the_order(tmp_path: Path) -> None:
    async with running_stack(tmp_path / "var") as client:
        email, product = f"guest-{new_id()}@example.test", await client.add_product()
        body = {**order_of(product, quantity=2), "email": email, "name": NAME}
        headers = {"Idempotency-Key": new_id(), "Prefer": "wait=20"}

        placed = await client.gateway.post("/v1/guest-orders", json=body, headers=headers)

        order = placed.raise_for_status().json()["order"]
        path = f"/v1/orders/{order['id']}"
        assert (placed.status_code, order["status"]) == (201, "PENDING")
        [first] = await client.mails(email, at_least=1)
        assert NAME not in first["text"]
        link = code_in(first)
        assert (await read(client, path, link))["client_secret"] == order["client_secret"]

        await client.pay(order)
        await until(lambda: read(client, path, link), lambda order: order["status"] == "PAID")
        [_, receipt] = await client.mails(email, at_least=2)
        assert f"Hello {NAME}" in receipt["text"]
        assert code_in(receipt)

        account = {"email": email.upper(), "password": PASSWORD, "name": NAME}
        (await client.gateway.post("/v1/users", json=account)).raise_for_status()
        assert (await read(client, "/v1/orders", await log_in(client, email)))["items"] == []
        await client.confirm(email.upper())
        token = await log_in(client, email)
        listed = await until(lambda: read(client, "/v1/orders", token), lambda page: len(page["items"]) > 0)
        assert [each["number"] for each in listed["items"]] == [order["number"]]
        adopted = await read(client, f"{path}?expand=payment,timeline", token)
        assert (adopted["guest_email"], adopted["payment"]["status"]) == (None, "SUCCEEDED")
        assert adopted["timeline"]["missing"] == []
        assert "order.adopted" in [entry["type"] for entry in adopted["timeline"]["entries"]]

        refund = await client.gateway.post(
            f"{path}/refunds", json={"amount": 100}, headers={**client.admin, "Idempotency-Key": new_id()}
        )
        assert refund.is_success, refund.text
        assert "refund" in (await client.mails(email, at_least=3))[2]["subject"]

        published = await client.kafka.events("order-events", order["id"], at_least=4)
        assert [event.data["isGuest"] for event in published] == [True, True, True, False]
        assert not any(email in str(event.data) for event in published)
        await audit_agrees(client)


async def audit_agrees(client: StackClient) -> None:
    """Databases, Stripe, Temporal and Kafka say the same once all has come to rest."""

    async def run() -> tuple[int, str]:
        audit = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "audit"),
            cwd=ROOT,
            env=process_environment(client.stack.settings, *SETTINGS),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await audit.communicate()
        return audit.returncode or 0, output.decode()

    code, output = await until(run, lambda ended: ended[0] == 0)
    assert code == 0, output
