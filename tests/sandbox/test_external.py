"""The stack on servers that somebody else runs: the environment says where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.ids import new_id
from runtime.settings import SettingsError
from sandbox.external import External
from sandbox.kafka import Kafka
from sandbox.ports import Ports, address, free_port
from sandbox.postgres.databases import SERVICES
from sandbox.supervisor import Stack
from tests.support.client import order_of, running_stack


async def test_a_stack_publishes_to_the_broker_that_the_settings_name_and_starts_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    kafka = Kafka(port=port, log=tmp_path / "kafka.log")
    await kafka.start()
    monkeypatch.setenv("ORDERSAGA_KAFKA_BOOTSTRAP", address(port))
    monkeypatch.setenv("ORDERSAGA_KAFKA_IDEMPOTENCE", "false")

    async with running_stack(tmp_path / "var", external=[External.KAFKA]) as client:
        customer, product_id = await client.sign_up(), await client.add_product()
        order = (await client.place(customer, order_of(product_id, quantity=1), key=new_id())).json()
        events = await client.kafka.events("order-events", order["id"], at_least=2)
        endpoints = client.stack.endpoints
    await kafka.stop()

    assert [event.headers["ce_type"] for event in events] == ["order.received", "order.created"]
    assert endpoints.kafka == address(port)
    assert "kafka" not in endpoints.processes
    assert not (tmp_path / "var" / "log" / "kafka.log").exists()


async def test_an_external_postgresql_has_to_be_named_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"ORDERSAGA_{service.upper()}_DSN", f"postgresql://{service}@db.example.test/{service}")
    monkeypatch.setenv("ORDERSAGA_OWNER_DSNS", '{"user": "postgresql://owner@db.example.test/user"}')

    with pytest.raises(SettingsError, match="ORDERSAGA_OWNER_DSNS lacks product, inventory, order, payment, not"):
        await Stack(var=tmp_path, ports=Ports.free(), external=[External.POSTGRES]).__aenter__()
